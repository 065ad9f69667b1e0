"""Events of queues that are on another server than the stream, which all listeners read.

On the stream's own server a settle writes its event in the same step. Those of the others are
appended after the commit; while the stream's server is away they are lost to listeners.
"""

from collections.abc import Iterable
from dataclasses import replace

from plugspace_queue.crossing import ANY_QUEUE
from plugspace_queue.engine.connection import client
from plugspace_queue.worker.messages import Announce, Settle

Message = Settle | Announce


def parted(messages: Iterable[Message]) -> tuple[list[Message], list[str]]:
    """The messages as their queues' servers get them, and the events for the stream's server."""
    texts: list[str] = []
    return [one if _is_here(one) else _without_events(one, texts) for one in messages], texts


def _is_here(message: Message) -> bool:
    queue = message.queue if isinstance(message, Announce) else message.held.queue
    return client(queue) is client(ANY_QUEUE)


def _without_events(message: Message, texts: list[str]) -> Message:
    if isinstance(message, Announce):
        texts += [note.event for note in message.notes if note.event]
        notes = [note._replace(event=None) for note in message.notes if note.snapshot]
        return replace(message, notes=notes)
    if message.settlement.event:
        texts.append(message.settlement.event)
    return replace(message, settlement=message.settlement._replace(event=None))
