"""The tools in a plain Django TestCase: nothing commits, and Redis hears nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction
from django.test import TestCase

from plugspace_queue import errors, queue_manager, signals
from plugspace_queue.broker.connection import client
from plugspace_queue.models import MonthlyUsage, Organization, QueueSettings
from plugspace_queue.testing import assert_state, eager, processors, run_pending
from tests.testing.host import FAKES, start_workflow, submit


@contextmanager
def heard() -> Iterator[list[str]]:
    """Names of the events told as Django signals meanwhile."""
    names: list[str] = []

    def hear(payload, **kwargs):
        names.append(payload["name"])

    for signal in signals.SIGNALS.values():
        signal.connect(hear)
    yield names
    for signal in signals.SIGNALS.values():
        signal.disconnect(hear)


def refuse(context):
    raise errors.ValidationFailed("no such site")


class RunPendingTests(TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.enterClassContext(processors(FAKES))

    def test_a_workflow_runs_to_its_end_with_outputs_flowing(self):
        steps = start_workflow()

        ran = run_pending()

        self.assertEqual([task.pk for task in ran], [step.pk for step in steps])
        self.assertEqual({task.state for task in ran}, {"complete"})
        self.assertEqual(ran[-1].result["results"], ["ARCHITECT", "DESIGN"])
        self.assertEqual(ran[0].attempts.get().worker_name, "testing")
        self.assertEqual(QueueSettings.objects.get(pk="CODE").completed, 1)

    def test_once_gives_each_waiting_task_one_attempt_and_starts_no_released_step(self):
        first, second, _ = start_workflow()

        self.assertEqual(run_pending(until="once"), [first])

        assert_state(second, "waiting")

    def test_only_the_named_types_run(self):
        architect, analysis = submit(), submit("ANALYZE")

        self.assertEqual(run_pending("ANALYZE"), [analysis])

        assert_state(architect, "waiting")

    def test_a_failed_step_cancels_and_refunds_what_hangs_on_it_and_signals_tell_so(self):
        steps = start_workflow()

        with processors({"ARCHITECT": refuse}), heard() as names:
            run_pending()

        assert_state(steps[0], "failed", "VALIDATION_ERROR")
        for step in steps[1:]:
            self.assertIsNotNone(assert_state(step, "cancelled", "CANCELLED").refunded_at)
        self.assertEqual(MonthlyUsage.objects.get(type="CODE").used, 0)
        self.assertEqual(
            sorted(names),
            ["taskCancelled"] * 2 + ["taskFailed"] * 3 + ["taskStarted"],
        )

    def test_what_hangs_on_it_is_told_once_even_when_callbacks_are_captured(self):
        start_workflow()
        capture = self.captureOnCommitCallbacks(execute=True)
        with processors({"ARCHITECT": refuse}), heard() as names, capture as callbacks:
            run_pending()

        self.assertEqual(callbacks, [])
        self.assertEqual(names.count("taskCancelled"), 2)

    def test_redis_hears_nothing(self):
        with eager(), processors({"DESIGN": refuse}):
            start_workflow()
        start_workflow()

        run_pending()

        # The request limiter counted the submit; nothing else is there.
        self.assertEqual(client().keys("*"), [b"plugspace:ratelimit:acme"])

    def test_a_processors_broken_statement_breaks_only_its_task(self):
        def clash(context):
            Organization.objects.create(pk="acme")

        def mistype(context):
            with connection.cursor() as cursor:
                cursor.execute("SELECT no_such_column")

        broken, other = submit("CODE"), submit("DEPLOY")
        healthy = submit()

        with processors({"CODE": clash, "DEPLOY": mistype}):
            run_pending()

        assert_state(broken, "failed", "INTERNAL_ERROR")
        other.refresh_from_db()
        self.assertIn(other.error["code"], ("INTERNAL_ERROR", "EXTERNAL_SERVICE_ERROR"))
        other.refresh_from_db()
        self.assertIn("no_such_column", other.error["message"])
        assert_state(healthy, "complete")

    def test_a_processor_may_ask_for_a_durable_block_and_its_commit_callbacks_run(self):
        told = []

        def write(context):
            with transaction.atomic(durable=True):
                Organization.objects.create(pk="made")
                transaction.on_commit(lambda: told.append("committed"))

        task = submit("CODE")
        with processors({"CODE": write}):
            run_pending()

        assert_state(task, "complete")
        self.assertEqual(told, ["committed"])
        self.assertTrue(Organization.objects.filter(pk="made").exists())

    def test_eager_tells_that_a_task_was_added_before_it_starts(self):
        with eager(), heard() as names:
            submit()

        self.assertEqual(names, ["taskAdded", "taskStarted", "taskCompleted"])

    def test_the_next_test_finds_nothing_of_the_ones_before(self):
        with self.assertRaises(errors.OrganizationUnknown):
            queue_manager.add_task(
                "ARCHITECT", project_id="p", user_id="u", organization_id="acme", input={}
            )
