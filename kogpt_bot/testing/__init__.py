"""What an adapter's author tests with: the contract suite, a recording inbox, a fake adapter.

from kogpt_bot.testing import AdapterContract, Harness

class TestMyAdapter(AdapterContract):
    @pytest.fixture
    async def harness(self):
        yield MyHarness()
"""

from kogpt_bot.testing.contract import AdapterContract, Harness, Pressing, Seen
from kogpt_bot.testing.fakes import FakeAdapter, RecordingInbox

__all__ = ["AdapterContract", "FakeAdapter", "Harness", "Pressing", "RecordingInbox", "Seen"]
