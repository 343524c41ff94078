"""What moved in the claims since a stored earlier state: a change log that is computed and not typed."""

import json
from pathlib import Path
from typing import Any

from claims import FILE, effect_of
from docutils import nodes
from facts import table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

BEFORE = "results/public/claims-before.json"
Claim = dict[str, Any]


def compared(before: list[Claim], now: list[Claim]) -> dict[str, list[tuple[Claim | None, Claim | None]]]:
    """Return pairs of a claim then and now, by what happened to it: the first that applies.

    Kinds: "verdict", "effect" (the new one lies outside the old interval, or there was none), "digits" (another effect,
    inside it), "words" (another statement), "same", "new", "gone".
    """
    then = {claim["id"]: claim for claim in before}
    found: dict[str, list[tuple[Claim | None, Claim | None]]] = {}
    for claim in now:
        old = then.pop(claim["id"], None)
        found.setdefault(_kind(old, claim) if old else "new", []).append((old, claim))
    for old in then.values():
        found.setdefault("gone", []).append((old, None))
    return found


def _kind(old: Claim, new: Claim) -> str:
    if old["verdict"] != new["verdict"]:
        return "verdict"
    if old["effect"] != new["effect"]:
        ends = [old["low"], old["high"]]
        known = None not in [*ends, old["effect"], new["effect"]]
        return "digits" if known and ends[0] <= new["effect"] <= ends[1] else "effect"
    return "words" if old["statement"] != new["statement"] else "same"


def said(claim: Claim | None) -> str:
    """Return verdict and effect of a claim as text."""
    return ": ".join(filter(None, (claim["verdict"], effect_of(claim)))) if claim else ""


class Changes(SphinxDirective):
    """What moved since the stored state: three tables and a sentence, empty parts left out."""

    def run(self) -> list[nodes.Node]:
        srcdir = Path(self.env.srcdir)
        for file in (FILE, BEFORE):
            self.env.note_dependency(str(srcdir / file))
        if not (srcdir / BEFORE).is_file():
            return [nodes.paragraph("", "No earlier state is stored.")]
        before, now = (json.loads((srcdir / file).read_text("utf8")) for file in (BEFORE, FILE))
        found = compared(before["claims"], now)
        count = {kind: len(pairs) for kind, pairs in found.items()}
        version = f"version {before['version']}, " if before["version"] else "no release, "
        text = (
            f"Compared with the state of {before['date'][:10]} ({version}{len(before['claims'])} claims), of "
            f"{len(now)} claims now {count.get('new', 0)} are new, {count.get('verdict', 0)} have another verdict, "
            f"{count.get('effect', 0)} have an effect that lies outside the interval of then, {count.get('digits', 0)} "
            f"one inside it, {count.get('words', 0)} are only worded anew, and {count.get('same', 0)} are the same. "
            f"{count.get('gone', 0)} were dropped."
        )
        shown: list[nodes.Node] = [nodes.paragraph("", text)]
        heads = {"verdict": "Another verdict", "effect": "Another effect", "gone": "Dropped", "digits": "Other digits"}
        for kind, head in heads.items():
            if found.get(kind):
                shown.append(self._section(kind, head, found[kind]))
        if found.get("new"):
            shown.append(self._new([claim for _, claim in found["new"] if claim]))
        return shown

    def _section(self, kind: str, head: str, pairs: list[tuple[Claim | None, Claim | None]]) -> nodes.section:
        section = nodes.section("", nodes.title("", head), ids=[f"changes-{kind}"])
        rows = [[(new or old or {})["statement"], said(old), said(new) or "(dropped)"] for old, new in pairs]
        lines = table(["claim", "then", "now"], rows)
        for line, (_, new) in zip(list(lines.findall(nodes.row))[1:], pairs, strict=True):
            if new:
                line.children[0].children[0] += [nodes.Text(" "), self._link(new)]
        section += lines
        return section

    def _new(self, claims: list[Claim]) -> nodes.section:
        section = nodes.section("", nodes.title("", "New claims"), ids=["changes-new"])
        listed = nodes.bullet_list()
        for notebook in sorted({claim["notebook"] for claim in claims}):
            item = nodes.paragraph("", f"{notebook}: ")
            for i, claim in enumerate(own for own in claims if own["notebook"] == notebook):
                item += [nodes.Text(", " if i else ""), self._link(claim)]
            listed += nodes.list_item("", item)
        section += listed
        return section

    def _link(self, claim: Claim) -> nodes.reference:
        place = f"{'../' * self.env.docname.count('/')}book/claims.html#claim-{claim['id']}"
        return nodes.reference("", claim["id"], refuri=place, internal=True)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("changes", Changes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
