"""Labels: what a name says of its value counts, and a name that is personal data goes, too."""

from collections import Counter

import pyarrow as pa
import pytest

from noisegate.scrub import Scrubber
from noisegate.scrub.labels import scrub_labels


@pytest.mark.parametrize(
    ("name", "value", "clean"),
    [
        pytest.param("user", "jdoe", "<USER>", id="a user name"),
        pytest.param("user", "root", "root", id="a system account"),
        pytest.param("password", 'he "said" \\ it', "<SECRET>", id="quotes and backslashes"),
        pytest.param("tel", "030 1234567", "<PHONE>", id="a phone number"),
        pytest.param("secret", "checkout-tls", "checkout-tls", id="a resource's name"),
        pytest.param("instance", "203.0.113.9:9100", "<IPV4>:9100", id="by its own form"),
        pytest.param("team", "jdoe", "jdoe", id="a name that says nothing"),
        pytest.param("note", 'a "b" \\n c', 'a "b" \\n c', id="clean text stays as it is"),
    ],
)
def test_a_value_is_scrubbed_for_its_form_and_for_its_name(
    name: str, value: str, clean: str
) -> None:
    labels, counts = scrub_labels(Scrubber(), {name: pa.array([value, None, value])})
    assert {key: column.to_pylist() for key, column in labels.items()} == {
        name: [clean, None, clean]
    }
    assert counts.total() == (0 if clean == value else 2)


def test_names_that_become_one_keep_the_first_value_that_is_there() -> None:
    given = {
        "a@example.com": pa.array(["1", None, None]),
        "b@example.com": pa.array(["2", "3", None]),
    }
    labels, counts = scrub_labels(Scrubber(), given)
    assert {name: column.to_pylist() for name, column in labels.items()} == {
        "<EMAIL>": ["1", "3", None]
    }
    assert counts == Counter(EMAIL=3)
