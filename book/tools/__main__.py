"""Run ``python -m book.tools COMMAND`` from the root of the project."""

from book.tools.build import main

raise SystemExit(main())
