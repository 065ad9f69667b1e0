"""RQ's own pages below the admin: our permissions, and the manager behind their buttons."""

from plugspace_queue.rq import admin

admin.install()
