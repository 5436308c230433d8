"""One detector for all tests of the package: it is immutable, and building it takes a while."""

import pytest

from kogpt_bot.moderation import Detector


@pytest.fixture(scope="session")
def detector() -> Detector:
    return Detector.default()
