"""One valid JSON object is found in an answer, and how it was found is said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.workers import outputs
from loom.workers.protocol import ErrorClass
from loom.workers.seams import HandsError

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {
        "outcome": {"enum": ["approve", "block"]},
        "findings": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["outcome"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "how"),
    [
        (' {"outcome": "block"}\n', ""),
        ('```json\n{"outcome": "block"}\n```', "taken from a code fence"),
        ('First ```\n{"outcome": "approve"}\n``` then\n```json\n{"outcome": "block"}\n```', "taken from a code fence"),
        ('I think {this} is it: {"outcome": "block"} as said.', "taken out of prose"),
        ('{"draft": 1} {"outcome": "block"}', "taken out of prose"),
        ("{'outcome': 'block',}", "mended by json-repair"),
        ('{"outcome": "block", "findings": [{"a": 1}', "mended by json-repair"),
    ],
)
def test_each_way_of_finding_is_recorded(text: str, how: str) -> None:
    """Whole text, fence, prose and mending are tried in this order; all but the first are recorded as repaired."""
    found = outputs.read_output(text, SCHEMA)
    assert "block" == json.loads(found.text)["outcome"]
    assert bool(how) == found.repaired
    assert ((f"the output was repaired: {how}",) if how else ()) == found.notes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the answer is empty"),
        ("I approve.", "no JSON object"),
        ("[1]", "no JSON object"),
        ('{"outcome": "maybe"}', 'at /outcome: "maybe" is not one of'),
        ('{"outcome": "block", "author": "me"}', "author"),
        ('{"findings": [1]}', "at /findings/0"),
        ('{"outcome": NaN}', ""),
        ("[" * 100_000, "no JSON object"),
        ('{"a":' * 50_000, ""),
        (json.dumps({"outcome": "block", "findings": [{"a": "x" * 30_000}]}), "shorten it"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_not_of_the_type_is_unparseable_with_its_reason(text: str, words: str) -> None:
    """The sentence of the failure is what a repair is shown."""
    with pytest.raises(HandsError) as caught:
        outputs.read_output(text, SCHEMA)
    assert ErrorClass.UNPARSEABLE == caught.value.error_class
    assert words in caught.value.message


def test_a_lone_surrogate_is_replaced_and_said() -> None:
    """What cannot be written as UTF-8 does not reach the record."""
    found = outputs.read_output('{"outcome": "block", "findings": [{"a": "\\ud800"}]}', SCHEMA)
    found.text.encode()
    assert found.repaired


def test_a_schema_that_is_none_is_permanent() -> None:
    """A bundle's fault is not the model's."""
    for schema in ("{", "[]", '{"type": 1}'):
        with pytest.raises(HandsError) as caught:
            outputs.parse_schema(schema)
        assert ErrorClass.PERMANENT == caught.value.error_class
    assert {"type": "object"} == outputs.parse_schema('{"type": "object"}')


@given(
    st.text(max_size=60), st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3), st.text(max_size=60)
)
def test_any_text_ends_in_an_output_or_an_error(before: str, extra: dict[str, Any], after: str) -> None:
    """Whatever surrounds it: either a valid object comes out, or an unparseable answer; nothing else."""
    text = before + json.dumps({"outcome": "approve", **extra}) + after
    try:
        found = json.loads(outputs.read_output(text, SCHEMA).text)
    except HandsError as error:
        assert ErrorClass.UNPARSEABLE == error.error_class  # noqa: PT017  both ends are right
    else:
        assert found["outcome"] in ("approve", "block")
        assert set(found) <= {"outcome", "findings"}
