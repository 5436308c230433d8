import io
import json

import pytest

from kogpt_bot.errors import ConfigurationError
from kogpt_bot.moderation import Detector
from kogpt_bot.moderation.scan import explain, scan


def test_one_object_a_line_in_the_same_order(detector: Detector) -> None:
    out = io.StringIO()
    scan(["안녕\n", "젠장\n", "아 씨1발\r\n", "\n"], out, detector=detector)
    reports = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(r["profane"], r["severity"], len(r["matches"])) for r in reports] == [
        (False, 0, 0),
        (False, 1, 1),
        (True, 3, 1),
        (False, 0, 0),
    ]
    assert reports[2]["matches"][0] == {
        "start": 2,
        "end": 5,
        "text": "씨1발",
        "canonical": "씨발",
        "category": "욕설",
        "severity": 3,
        "rule": "ssibal",
    }


def test_json_lines(detector: Detector) -> None:
    out = io.StringIO()
    scan(['{"text": "병신\\n같은"}'], out, json_input=True, detector=detector)
    assert json.loads(out.getvalue())["profane"] is True


@pytest.mark.parametrize("line", ["not json", "[]", '{"text": 3}', "{}"])
def test_a_bad_json_line_is_named(detector: Detector, line: str) -> None:
    with pytest.raises(ConfigurationError, match="line 2"):
        scan(['{"text": ""}', line], io.StringIO(), json_input=True, detector=detector)


def test_explain() -> None:
    assert "rule byeongsin" in explain("병신")[0]
