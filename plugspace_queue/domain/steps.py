"""The steps of a workflow kind, and the graph that they make; pure, without models of inputs."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NoReturn, get_args

from plugspace_queue.errors import InvalidKind
from plugspace_queue.errors import translated as _

Json = Mapping[str, Any]
OnFailure = Literal["cancel", "continue"]
Takes = Callable[[Json, Collection[str]], Json]
InputFrom = Callable[[dict[str, Any], dict[str, Any]], Json]

LONGEST_NAME = 32
MOST_STEPS = 50
"""Fewer than the tasks that a task's context names, so that a step knows all steps before it."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_OPTION = re.compile(r"[a-z][A-Za-z0-9]*")


@dataclass(frozen=True)
class From:
    """Marks a field of an input model that a step's output fills when it is not given.

    `step` is the name of a step, or a task type: `Annotated[Transcript, From("TRANSCRIBE")]`.
    """

    step: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One step of a kind; made by `TYPE.step()`. In a declared kind `after` holds names."""

    type: str
    name: str
    after: Sequence["Step | str"] | None = None
    skip: str | None = None
    on_failure: OnFailure = "cancel"
    takes: Takes | None = None
    input_from: InputFrom | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        """The names of the steps that it waits for; of a step of a declared kind."""
        return tuple(str(one) for one in self.after or ())

    @property
    def may_fail(self) -> bool:
        """Whether the workflow goes on without its output when it fails or expires."""
        return self.on_failure == "continue"


def step(
    type: str,
    *,
    name: str | None = None,
    after: Sequence[Step | str] | None = None,
    skip: str | None = None,
    on_failure: OnFailure = "cancel",
    takes: Takes | None = None,
    input_from: InputFrom | None = None,
) -> Step:
    """A step of a type that is named by text; otherwise `TaskType.step`, which has the options."""
    return Step(
        type=str(type),
        name=str(type) if name is None else name,
        after=after,
        skip=skip,
        on_failure=on_failure,
        takes=takes,
        input_from=input_from,
    )


class KindRefusal:
    """Raises InvalidKind for one declaration."""

    def __init__(self, kind: object) -> None:
        self._kind = str(kind)[:64]

    def __call__(self, reason: str, message: str, at: Step | None = None) -> NoReturn:
        place = f", step {at.name}" if at else ""
        raise InvalidKind(
            _("Workflow kind %(kind)r%(place)s: %(message)s")
            % {"kind": self._kind, "place": place, "message": message},
            reason=reason,
            kind=self._kind,
            step=at.name if at else None,
        )


def linked(kind: str, steps: Sequence[Step | str]) -> tuple[Step, ...]:
    """The steps with `after` as names, each after those that it waits for; raises InvalidKind.

    >>> [(s.name, s.parents) for s in linked("demo", ["A", step("B"), step("A", name="again")])]
    [('A', ()), ('B', ('A',)), ('again', ('B',))]
    """
    refuse = KindRefusal(kind)
    if isinstance(steps, str) or not 1 <= len(steps) <= MOST_STEPS:
        refuse(
            "steps",
            _("a kind has a list of 1 to %(most_steps)s steps.") % {"most_steps": MOST_STEPS},
        )
    given = [one if isinstance(one, Step) else step(one) for one in steps]
    _require_options(given, refuse)
    if all(one.after is None for one in given):
        before = [(), *((one.name,) for one in given[:-1])]
        joined = [replace(one, after=names) for one, names in zip(given, before, strict=True)]
    else:
        joined = [replace(one, after=_names_after(one, given, refuse)) for one in given]
    return _in_order(joined, refuse)


def without(steps: Sequence[Step], skipped: Collection[str]) -> tuple[Step, ...]:
    """The steps that remain; what waited for one that is left out waits for its parents.

    >>> [(s.name, s.parents) for s in without(linked("demo", ["A", "B", "C"]), {"B"})]
    [('A', ()), ('C', ('A',))]
    """
    remaining: list[Step] = []
    stand_ins: dict[str, tuple[str, ...]] = {}
    for one in steps:
        parents = [near for name in one.parents for near in stand_ins.get(name, (name,))]
        unique = tuple(dict.fromkeys(parents))
        if one.name in skipped:
            stand_ins[one.name] = unique
        else:
            remaining.append(replace(one, after=unique))
    return tuple(remaining)


def ancestors(steps: Sequence[Step]) -> dict[str, list[str]]:
    """For each step the names of all steps before it, in their order.

    >>> ancestors(linked("demo", ["A", step("B", after=["A"]), step("C", after=["A"])]))
    {'A': [], 'B': ['A'], 'C': ['A']}
    """
    found: dict[str, set[str]] = {}
    for one in steps:
        found[one.name] = set(one.parents).union(*(found[name] for name in one.parents))
    order = [one.name for one in steps]
    return {name: [n for n in order if n in before] for name, before in found.items()}


def _require_options(steps: Sequence[Step], refuse: KindRefusal) -> None:
    names: set[str] = set()
    switches: set[str] = set()
    for one in steps:
        _require_name(one, names, refuse)
        _require_switch(one, switches, refuse)
        if one.on_failure not in get_args(OnFailure):
            message = _('on_failure is "cancel" or "continue", not %(on_failure)r.') % {
                "on_failure": one.on_failure
            }
            refuse("on_failure", message, one)
        for option in ("takes", "input_from"):
            function = getattr(one, option)
            if function is not None and not callable(function):
                refuse(
                    option,
                    _("%(option)s is a function, not %(function)r.")
                    % {"option": option, "function": function},
                    one,
                )


def _require_name(one: Step, known: set[str], refuse: KindRefusal) -> None:
    if not _NAME.fullmatch(one.name) or len(one.name) > LONGEST_NAME:
        message = _(
            "a name is a letter, then letters, digits, _ and -, at most %(longest_name)s."
        ) % {"longest_name": LONGEST_NAME}
        refuse("step_name", message, one)
    if one.name in known:
        refuse("step_name", _("another step has this name; give it one of its own: name=…"), one)
    known.add(one.name)


def _require_switch(one: Step, known: set[str], refuse: KindRefusal) -> None:
    if one.skip is None:
        return
    if not isinstance(one.skip, str) or not _OPTION.fullmatch(one.skip):
        refuse(
            "skip",
            _("skip is the name of an option in camelCase, not %(skip)r.") % {"skip": one.skip},
            one,
        )
    if one.skip in known:
        refuse("skip", _("%(skip)r leaves out another step already.") % {"skip": one.skip}, one)
    known.add(one.skip)


def _names_after(one: Step, steps: Sequence[Step], refuse: KindRefusal) -> tuple[str, ...]:
    if one.after is None:
        return ()
    if isinstance(one.after, str | Step) or not isinstance(one.after, Sequence):
        refuse("after", _("after is a list of steps, names or types."), one)
    return tuple(dict.fromkeys(_name_of(other, one, steps, refuse) for other in one.after))


def _name_of(other: Step | str, one: Step, steps: Sequence[Step], refuse: KindRefusal) -> str:
    if isinstance(other, Step):
        found = [s for s in steps if s is other]
    else:
        found = [s for s in steps if s.name == other] or [s for s in steps if s.type == other]
    wanted = other.name if isinstance(other, Step) else str(other)
    if not found:
        refuse(
            "unknown_step",
            _("it waits for %(wanted)r, which is no step of this kind.") % {"wanted": wanted},
            one,
        )
    if len(found) > 1:
        names = ", ".join(s.name for s in found)
        refuse(
            "ambiguous_step",
            _("%(wanted)r may be one of %(names)s: wait for a name.")
            % {"wanted": wanted, "names": names},
            one,
        )
    return found[0].name


def _in_order(steps: Sequence[Step], refuse: KindRefusal) -> tuple[Step, ...]:
    """The steps, each after those that it waits for; where there is a choice as declared."""
    waiting, ordered = list(steps), list[Step]()
    while waiting:
        known = {one.name for one in ordered}
        ready = next((one for one in waiting if known.issuperset(one.parents)), None)
        if ready is None:
            _refuse_cycle(waiting, refuse)
        waiting.remove(ready)
        ordered.append(ready)
    for one in ordered:
        if one.input_from is not None and not one.parents:
            refuse(
                "input_from", _("input_from is for a step that waits for others; see takes."), one
            )
    return tuple(ordered)


def _refuse_cycle(waiting: Sequence[Step], refuse: KindRefusal) -> NoReturn:
    open_steps = {one.name: one for one in waiting}
    way = [waiting[0].name]
    while way.count(way[-1]) < 2:
        way.append(next(name for name in open_steps[way[-1]].parents if name in open_steps))
    circle = " after ".join(way[way.index(way[-1]) :])
    refuse("cycle", _("its steps wait for each other: %(circle)s.") % {"circle": circle})
