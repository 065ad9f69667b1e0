"""The pump keeps its connection, and goes where Sentinel says before anything fails."""

import pytest

from plugspace_queue.broker import kept_connection, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.broker.kept_connection import Wire
from tests.ha.trio import SERVICE, Trio
from tests.support import wait_until

pytestmark = pytest.mark.timeout(60)


@pytest.mark.slow
def test_a_new_primary_that_another_connection_heard_of_gets_the_next_call(
    sentinel_trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As of a pump that never rests.
    monkeypatch.setattr(kept_connection, "IDLE", 60.0)
    pump = client(purpose="worker")
    kept, counts = Wire(pump), task_store.counts("code")
    old = sentinel_trio.primary()
    kept.run_each([counts])
    assert kept._connection.port == old.port

    sentinel_trio.sentinels[0].client.execute_command("SENTINEL", "FAILOVER", SERVICE)
    wait_until(lambda: pump.connection_pool.get_master_address()[1] != old.port, 20)

    assert kept.run_each([counts]) == [task_store.Counts(0, 0, 0)]
    assert kept._connection.port == sentinel_trio.primary().port
    kept.close()
