"""The order by its definition, in memory: strict bands or weights, start-time fair queueing.

A lane is an organization in a band. It gets a start tag when it comes into line: the virtual time
(the start tag of what was served last), or where it stopped when that is later. The lowest tag is
served; a served lane moves on by the cost of one task. Nothing here looks at Redis.
"""

from dataclasses import dataclass, field

COST = {False: (64, 64, 64, 64), True: (8, 16, 32, 64)}
"""What a task of each band costs: the same, or by the weights 8, 4, 2, 1."""

Lane = tuple[int, str]
"""Band and organization."""


@dataclass
class Gates:
    """What operators set; 0 is no limit."""

    paused: bool = False
    concurrency: int = 0
    limiter_max: int = 0
    limiter_ms: int = 1000
    organization_cap: int = 0
    weighted: bool = False


@dataclass
class Model:
    """One queue."""

    gates: Gates = field(default_factory=Gates)
    lines: dict[Lane, list[str]] = field(default_factory=dict)
    running: dict[str, Lane] = field(default_factory=dict)
    delayed: dict[str, Lane] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    tags: dict[Lane, int] = field(default_factory=dict)
    held: set[Lane] = field(default_factory=set)
    """Lanes that were found behind a shut gate of their organization."""
    finished: dict[Lane, int] = field(default_factory=dict)
    """Where lanes stopped that ran empty."""
    times: dict[int | str, int] = field(default_factory=dict)
    entered: dict[int, int] = field(default_factory=dict)

    # Into the line and out of it.

    def put(self, task_id: str, lane: Lane, front: bool = False) -> None:
        """Last in its lane, or first."""
        line = self.lines.setdefault(lane, [])
        line.insert(0 if front else len(line), task_id)
        if len(line) == 1:
            self._enter(lane)

    def cancel(self, task_id: str) -> bool:
        """Whether it waited or was delayed; its lane keeps its place in the order."""
        if self.delayed.pop(task_id, None):
            return True
        lane = next((lane for lane, line in self.lines.items() if task_id in line), None)
        if lane is None:
            return False
        self.lines[lane].remove(task_id)
        if not self.lines[lane]:
            self._leave(lane, self.tags[lane])
        return True

    def take(self, room: int) -> list[str]:
        """The next tasks, at most `room`."""
        taken: list[str] = []
        while len(taken) < room and (lane := self._first()):
            taken.append(self.lines[lane].pop(0))
            self.running[taken[-1]] = lane
            self._charge(lane)
        return taken

    def close(self, task_id: str) -> Lane:
        """An attempt is over: its organization may go on, not before those that waited."""
        lane = self.running.pop(task_id)
        self.release(lane[1])
        return lane

    # What operators do.

    def release(self, organization: str) -> None:
        """Let an organization's lanes go on when no gate of its own is shut."""
        if self._is_shut(organization):
            return
        for lane in [lane for lane in self.held if lane[1] == organization]:
            self.held.discard(lane)
            self.tags[lane] = max(self.tags[lane], self._time(lane))

    def pause(self, organization: str, paused: bool) -> None:
        """Hold an organization or let it go on."""
        if paused:
            self.paused.add(organization)
            self.held |= {lane for lane in self.tags if lane[1] == organization}
        else:
            self.paused.discard(organization)
            self.release(organization)

    def configure(self, gates: Gates) -> None:
        """Other gates; with another policy every lane keeps its distance to the time."""
        if gates.weighted != self.gates.weighted:
            latest = max([*self.times.values(), *self.entered.values()], default=0)
            ahead = {lane: max(tag - self._time(lane), 0) for lane, tag in self.tags.items()}
            self.tags = {lane: latest + distance for lane, distance in ahead.items()}
            self.times = {"all": latest} if gates.weighted else dict.fromkeys(range(4), latest)
            self.entered, self.finished = {}, {}
        self.gates = gates
        for organization in {lane[1] for lane in self.held}:
            self.release(organization)

    # What may start.

    def room(self, want: int) -> int:
        """Starts that the queue's own gates leave, the limiter left aside."""
        if self.gates.paused:
            return 0
        if not self.gates.concurrency:
            return want
        return max(min(want, self.gates.concurrency - len(self.running)), 0)

    def may_start(self) -> bool:
        """Whether any waiting task is behind no gate, the limiter left aside."""
        return self.room(1) > 0 and any(not self._is_shut(lane[1]) for lane in self.tags)

    def waiting(self) -> list[str]:
        """Ids in line."""
        return [task_id for line in self.lines.values() for task_id in line]

    def runs_of(self, organization: str) -> int:
        """Its running tasks."""
        return sum(lane[1] == organization for lane in self.running.values())

    # The order.

    def _is_shut(self, organization: str) -> bool:
        cap = self.gates.organization_cap
        return organization in self.paused or bool(cap and self.runs_of(organization) >= cap)

    def _clock(self, lane: Lane) -> int | str:
        return "all" if self.gates.weighted else lane[0]

    def _time(self, lane: Lane) -> int:
        return self.times.get(self._clock(lane), 0)

    def _first(self) -> Lane | None:
        while lanes := self.tags.keys() - self.held:
            first = min(lanes, key=self._place)
            if not self._is_shut(first[1]):
                return first
            self.held.add(first)
        return None

    def _place(self, lane: Lane) -> tuple[int, int, Lane]:
        """What is served first; equal tags go by the name of the lane, band first."""
        return (0 if self.gates.weighted else lane[0], self.tags[lane], lane)

    def _enter(self, lane: Lane) -> None:
        self.tags[lane] = self._time(lane)
        if self.finished.get(lane, 0) > self.tags[lane]:
            self.tags[lane] = self.finished[lane]
            # Whoever is served from now on comes behind it: it waits one turn of each at most.
            self.entered[lane[0]] = max(self.entered.get(lane[0], 0), self.tags[lane])

    def _leave(self, lane: Lane, tag: int) -> None:
        del self.lines[lane], self.tags[lane]
        self.held.discard(lane)
        self.finished[lane] = tag

    def _charge(self, lane: Lane) -> None:
        tag = self.tags[lane]
        after = tag + COST[self.gates.weighted][lane[0]]
        if not self.gates.weighted:
            after = max(after, self.entered.get(lane[0], 0) + 1)
        self.times[self._clock(lane)] = max(tag, self._time(lane))
        if self.lines[lane]:
            self.tags[lane] = after
        else:
            self._leave(lane, after)
