"""The manager, imported when a page first asks it for something.

Every process of a project imports its admin, and few show a page: the manager and what it needs
would be a quarter of what the app adds to the start of each.
"""

from typing import TYPE_CHECKING, cast

from django.utils.functional import SimpleLazyObject

import plugspace_queue

if TYPE_CHECKING:
    from plugspace_queue.manager import QueueManager

queue_manager = cast("QueueManager", SimpleLazyObject(lambda: plugspace_queue.queue_manager))
