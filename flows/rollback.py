"""The roll-back flow: one click in Prefect's page back to the champion before this one."""

import uuid

from prefect import flow

from flows.local import chosen_settings
from flows.tracing import flow_span
from noisegate.alert import Origin
from noisegate.learning.registry import Registry
from noisegate.spans import of_run
from noisegate.store.database import open_store
from noisegate.store.runs import RunOutcome, lease


@flow(name="rollback", timeout_seconds=600, persist_result=False)
@flow_span()
def rollback(who: str, why: str) -> int:
    """Make the last champion of the audit champion again.

    Args:
        who: the person that asks, for the audit.
        why: the reason, for the audit.

    Returns:
        The version that is champion now.
    """
    engine = open_store(chosen_settings())
    run_id = uuid.uuid4().hex
    try:
        with of_run(run_id), lease(engine, "rollback", run_id, Origin.LIVE.value) as run:
            row = Registry(chosen_settings(), engine).rollback(who=who, why=why)
            run.finish(RunOutcome.PROMOTED, version=row.version, reasons=[f"{who}: {why}"])
    finally:
        engine.dispose()
    return row.version
