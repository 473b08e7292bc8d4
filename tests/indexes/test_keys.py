"""Keys come from the environment; what is wrong with them is said without showing them."""

import base64
import stat

import pytest

from indexes.errors import SealError
from indexes.keys import FILE_VARIABLE, TEXT_VARIABLE, Key, current_keys, new_key, read_key_file, write_key_file

ONE, TWO = Key(bytes(range(32))), Key(bytes(range(1, 33)))


def text_of(key: Key) -> str:
    return base64.b64encode(key.secret).decode()


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    monkeypatch.delenv(TEXT_VARIABLE, raising=False)


def test_a_key_is_named_by_a_hash_and_does_not_show_itself():
    assert ONE.id.hex() == "c4d0125561a3227a"
    assert repr(ONE) == "Key()"
    assert len(new_key().secret) == 32
    assert new_key() != new_key()


def test_a_key_file_is_read_in_its_order_and_is_its_owners_alone(tmp_path, monkeypatch):
    path = tmp_path / "keys"
    write_key_file(path, [TWO, ONE])

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key_file(path) == (TWO, ONE)
    monkeypatch.setenv(FILE_VARIABLE, str(path))
    assert current_keys() == (TWO, ONE)


def test_comments_spaces_and_repetitions_are_left_out(tmp_path):
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    path.write_text(f"# since May\n\n  {text_of(ONE)}  # old\n{text_of(TWO)}, {text_of(ONE)}\n")

    assert read_key_file(path) == (ONE, TWO)


def test_the_variable_holds_keys_as_well(monkeypatch):
    assert current_keys() == ()
    monkeypatch.setenv(TEXT_VARIABLE, f"{text_of(ONE)} {text_of(TWO)}")

    assert current_keys() == (ONE, TWO)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_file_that_is_open_to_others_is_refused(tmp_path, mode):
    path = tmp_path / "keys"
    write_key_file(path, [ONE])
    path.chmod(mode)

    with pytest.raises(SealError, match=f"has the mode {mode:04o}: others than its owner may use it. Run: chmod 600"):
        read_key_file(path)


@pytest.mark.parametrize("text", ["abc", text_of(ONE)[:-4], "ä" * 44, "A" * 4000])
def test_what_is_no_key_is_not_quoted(tmp_path, monkeypatch, text):
    monkeypatch.setenv(TEXT_VARIABLE, f"{text_of(TWO)} {text}")

    with pytest.raises(SealError) as caught:
        current_keys()

    assert str(caught.value) == (
        f"Entry 2 in the variable {TEXT_VARIABLE} is no key: 32 bytes as base64 are needed. "
        "Make one with: scanner key new FILE"
    )


def test_no_keys_both_variables_and_no_file_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "keys"
    monkeypatch.setenv(FILE_VARIABLE, str(path))
    with pytest.raises(SealError, match=r"The key file '.*' cannot be read \(No such file or directory\)"):
        current_keys()
    path.touch(mode=0o600)
    with pytest.raises(SealError, match="There is no key in the key file"):
        current_keys()
    monkeypatch.setenv(TEXT_VARIABLE, text_of(ONE))
    with pytest.raises(SealError, match="are both set"):
        current_keys()
