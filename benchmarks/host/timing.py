"""Times addresses through Django's own client: routing, queries, templates, all but the network."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from django.test import Client

from benchmarks.host.filling import owner
from benchmarks.host.places import Place
from plugspace_queue.dashboards import queues
from plugspace_queue.models import ApiKey, Organization
from plugspace_queue.services import queue_stats


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What an address took, in ms."""

    place: Place
    p50: float
    p95: float

    @property
    def is_slow(self) -> bool:
        """Over its limit."""
        return self.p95 > self.place.limit


def timed(place: Place, rounds: int, warm: int = 2) -> Timed:
    """Ask `rounds` times, after a few times that do not count."""
    client = client_of(place.asks)
    took = sorted([_once(client, place) for _ in range(warm + rounds)][warm:])
    return Timed(place=place, p50=_share(took, 0.5), p95=_share(took, 0.95))


@cache
def client_of(who: str) -> Client:
    """A client of the staff, or with a key of an organization."""
    if who == "staff":
        client = Client()
        client.force_login(owner())
        return client
    organization = Organization.objects.get(pk=who)
    _, secret = ApiKey.issue(organization, ["read"])
    return Client(headers={"Authorization": f"Bearer {secret}"})


def _once(client: Client, place: Place) -> float:
    for forget in FORGET:
        forget()
    started = time.perf_counter()
    response = client.get(place.address)
    took = time.perf_counter() - started
    if response.status_code != 200:
        raise RuntimeError(f"{place.address} answered {response.status_code}")
    return took * 1000


def _share(took: Sequence[float], share: float) -> float:
    return took[math.ceil(len(took) * share) - 1]


# What is kept for a second would be measured once only.
FORGET: tuple[Callable[[], None], ...] = (queues.clear_cache, queue_stats.clear_cache)
