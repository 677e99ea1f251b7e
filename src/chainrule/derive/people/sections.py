"""Sections that the file's one reading does not explain: a reading of their own, or what the file itself defines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace

from chainrule.derive.people.chains import Chain, Notes
from chainrule.derive.people.doubting import supported
from chainrule.derive.people.facts import facts_of, flat_items
from chainrule.derive.people.own import own_search
from chainrule.derive.people.own_judging import by_definitions, fine, settled
from chainrule.derive.people.reading import CONVENTIONS, Reading, Role
from chainrule.derive.people.search import Found, Judge, search
from chainrule.derive.people.settling import FINE, LAYOUT, OF_THE_LOSS, Judged, contradicted, localised
from chainrule.derive.people.values import work_done

__all__ = ["sectioned"]

_SECTIONS = 12  # that are searched on their own
_WORK = 3_000_000  # for each, in entries that are computed
_ALL_WORK = 12_000_000
_OWN_WORK = 8_000_000  # for what the file defines, of all its parts


def sectioned(judge: Judge, notes: Notes, said: Mapping[str, Role], found: Found, judged: list[Judged]) -> None:
    """Give chains that are not all understood the reading of their section, or that of what the file defines."""
    begun, owned = work_done(), 0
    for group in itertools.islice(_groups(notes, judged), _SECTIONS):
        bad = [n for n in group if not fine(judged[n])]
        if not bad or work_done() - owned > begun + _ALL_WORK:
            continue
        part = _part(notes, group)
        facts = facts_of(part)
        own = Judge(part.chains, judge.seed, _WORK)
        other = search(own, part, facts, said, {}) if len(group) < len(notes.chains) else None
        if other is not None and other.cost < 0.9:
            if _explains(judged, group, bad, other):
                for n in bad:
                    judged[n] = replace(localised(own, group.index(n), other), cost=other.cost)
                continue
            for n in bad:
                k = group.index(n)
                tried = localised(own, k, other)
                if (
                    fine(tried)
                    and not _only_defines(notes, tried, alone=len(group) == 1)
                    and (not settled(judged[n]) or (other.complete and len(group) > 2 and other.cost < 0.6))
                    and not _at_odds(judge, n, found, judged, tried.reading, other.cost, alone=len(group) == 1)
                ):
                    judged[n] = tried
        if all(fine(judged[n]) for n in bad) or owned > _OWN_WORK:
            continue
        before = work_done()
        here = _part(notes, group, borrowed=False)
        for one in (part, here) if len(here.inline) < len(part.inline) else (part,):
            found_own = own_search(one, said, judge.seed, _WORK)
            if found_own is not None:
                by_definitions(notes, judged, group, *found_own, cost=found.cost, wrong=one is part)
        owned += work_done() - before


def _explains(judged: list[Judged], group: list[int], bad: list[int], other: Found) -> bool:
    """Whether a reading of one part leaves at most a step or two of it open, where the file's leaves many."""
    old = [o for n in bad for o in judged[n].outcomes if o.word not in FINE]
    new = [o for n in bad for o in other.outcomes[group.index(n)] if o.word not in FINE]
    right = sum(o.word == "follows" for said in other.outcomes for o in said)
    return len(bad) >= 3 and 3 * len(new) <= len(old) and 4 * len(new) <= right and right >= 4


def _only_defines(notes: Notes, one: Judged, *, alone: bool) -> bool:
    """Whether a chain follows only as a definition of what is defined elsewhere, or used nowhere else in its part."""
    if not any(o.word == "defines" for o in one.outcomes):
        return False
    base = one.chain.head.base if one.chain.head is not None else ""
    return alone or sum((d := _defined(c)) is not None and d[0] == base for c in notes.every) > 1


def _at_odds(
    judge: Judge, n: int, found: Found, judged: list[Judged], reading: Reading, cost: float, *, alone: bool
) -> bool:
    """Whether a reading of one part has another layout than what follows elsewhere, or, where a number differs, other
    roles for letters of steps that follow."""
    excused = [o.excused for o in judged[n].outcomes if o.excused is not None]
    if any(reading.conventions.get(name) == value for name, value in excused):
        return True
    if alone and judge.penalty(reading) >= 0.3:
        return True
    loss = {k: reading[k] for k in OF_THE_LOSS if reading[k] != found.reading[k]}
    if contradicted(judge, n, found, found.reading.but(**loss), loss):
        return True
    layout = {k: reading.conventions.get(k, CONVENTIONS[k][0]) for k in (*LAYOUT, "mean")}
    if contradicted(judge, n, found, found.reading.but(**layout), layout):
        return True
    if not any(o.word == "wrong" for o in judged[n].outcomes):
        return alone and cost > 0.5
    shown = supported(judged)
    return any(
        (old := found.reading.roles.get(base)) is not None and old.kind != role.kind
        for base, role in reading.roles.items()
        if base in shown
    )


def _groups(notes: Notes, judged: list[Judged]) -> Iterator[list[int]]:
    """The whole, its sections, and single chains, where some step is not understood."""
    everything = list(range(len(notes.chains)))
    yield everything
    for part in ("chapter", "section"):
        groups: dict[int, list[int]] = {}
        for n in everything:
            groups.setdefault(getattr(notes.chains[n], part), []).append(n)
        if len(groups) > 1:
            yield from (group for group in groups.values() if any(not fine(judged[n]) for n in group))
    bad = [n for n in everything if not fine(judged[n])]
    runs = [[n for _, n in run] for _, run in itertools.groupby(enumerate(bad), lambda one: one[1] - one[0])]
    whole = everything[bad[0] :] if bad and bad[0] else []
    yield from (run for run in ([whole] if whole and whole not in runs else []) + runs if len(run) > 2)
    for n in everything:
        if len(everything) > 1 and not fine(judged[n]):
            yield [n]


def _part(notes: Notes, group: list[int], *, borrowed: bool = True) -> Notes:
    """Some chains of a file, with the definitions elsewhere of the names that they use."""
    chains = [notes.chains[n] for n in group]
    sections = {chain.section for chain in chains}
    here = [chain for chain in notes.inline if chain.section in sections]
    known = {left for chain in (*chains, *here) if (left := _defined(chain)) is not None}
    used = {base for chain in chains for base in chain.bases}
    for chain in (*notes.inline, *notes.chains) if borrowed else ():
        left = _defined(chain)
        if left is not None and left[0] in used and left not in known:
            here.append(Chain(chain.sides[:2], [], chain.section, chain.chapter, inline=True))
            known.add(left)
    return Notes(chains, here, notes.prose, notes.headings, notes.told)


def _defined(chain: Chain) -> tuple[str, str] | None:
    """What a chain defines: a name with its tags."""
    head = chain.head
    if head is None or len(chain.sides) < 2:
        return None
    tags = [f"{i.kind}{i.value}" for i in flat_items(head.sub + head.sup) if i.kind != "letter"]
    return head.base, "".join(tags)
