import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from noisegate.simulate import RAW_SCHEMA, SimulationPlan, simulate

PLANS = st.builds(
    SimulationPlan,
    alerts=st.integers(1, 600),
    days=st.floats(0.01, 9.0),
    services=st.integers(1, 120),
    seed=st.integers(0, 2**32),
    ends_at_us=st.integers(0, 4_000_000_000_000_000),
    pii_share=st.floats(0.0, 0.5),
    secret_share=st.floats(0.0, 0.5),
)


@given(plan=PLANS, batch_rows=st.integers(1, 600))
@settings(deadline=None, max_examples=40)
def test_any_plan_gives_as_many_alerts_as_asked_in_order_within_its_span(
    plan: SimulationPlan, batch_rows: int
) -> None:
    batches = list(simulate(plan, batch_rows))
    assert {batch.num_rows for batch in batches[:-1]} <= {batch_rows}
    rows = pa.Table.from_batches(batches, RAW_SCHEMA)
    assert rows.num_rows == plan.alerts
    start = rows["starts_at"].cast(pa.int64())
    assert start.to_pylist() == sorted(start.to_pylist())
    begin = plan.ends_at_us - plan.days * 86_400e6
    assert begin - 1 <= pc.min(start).as_py() <= pc.max(start).as_py() < plan.ends_at_us
    assert len(rows["service"].unique()) <= plan.services
