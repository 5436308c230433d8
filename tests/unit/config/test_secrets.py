"""Which secrets a configuration names."""

from kogpt_bot.config.secrets import secrets


def test_they_are_found_in_every_section_and_unreadable_ones_passed_over(
    load, monkeypatch, tmp_path
):
    (tmp_path / "key").write_text("from-a-file\n")
    (tmp_path / "key").chmod(0o600)
    settings = load(
        f"generation: {{url: 'http://x', api_key_file: '{tmp_path / 'key'}'}}\n"
        "store: {url: 'postgresql+asyncpg://me:p%40ss@db/x'}\n"
    )
    assert {each.reveal() for each in secrets(settings)} == {"from-a-file", "p%40ss", "p@ss"}
    monkeypatch.setenv("A_KEY", "from-the-environment")
    settings = load("generation: {url: 'http://x', api_key_env: A_KEY}\n")
    assert [each.reveal() for each in secrets(settings)] == ["from-the-environment"]
    monkeypatch.delenv("A_KEY")
    assert secrets(settings) == []
