"""Events of queues that are on another server than the stream, which all listeners read.

On the stream's own server a settle writes its event in the same step. Those of the others are
appended after the commit; while the stream's server is away they are lost to listeners.
"""

from collections.abc import Iterable
from dataclasses import replace

from plugspace_queue.broker.connection import client
from plugspace_queue.broker.routing import ANY_QUEUE
from plugspace_queue.broker.task_store import Note
from plugspace_queue.worker.messages import Announce, Settle

Message = Settle | Announce


def parted(messages: Iterable[Message]) -> tuple[list[Message], list[Note]]:
    """The messages as their queues' servers get them, and the events for the stream's server."""
    events: list[Note] = []
    return [one if _is_here(one) else _without_events(one, events) for one in messages], events


def _is_here(message: Message) -> bool:
    queue = message.queue if isinstance(message, Announce) else message.held.queue
    return client(queue) is client(ANY_QUEUE)


def _without_events(message: Message, events: list[Note]) -> Message:
    if isinstance(message, Announce):
        events += [Note(note.task_id, event=note.event) for note in message.notes if note.event]
        notes = [note._replace(event=None) for note in message.notes if note.snapshot]
        return replace(message, notes=notes)
    if message.settlement.event:
        events.append(_ending(message))
    return replace(message, settlement=message.settlement._replace(event=None))


def _ending(message: Settle) -> Note:
    """The event of an ending, with the result that it tells."""
    told = message.settlement
    note = Note(told.task_id, event=told.event, organization_id=message.held.lease.organization_id)
    if not told.tells_result:
        return note
    return note._replace(result=told.result or "", is_large=told.is_large)
