"""Which slots an operator's settings and CSV file mean, and what is said about their mistakes."""

import io
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from sipstack.errors import OperatorError
from sipstack.numbering import NumberingPlan
from sipstack.secrets import write_csv
from sipstack.slots import all_slots, expand, probe_slots
from sipstack.slots_csv import load_csv

PLAN = NumberingPlan.parse({"AUTO": "6001-6999, 600000-699999", "MF": "7001-7999", "LS": "8001-8999"})


def csv_file(folder: Path, content: str | bytes) -> Path:
    path = folder / "slots.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("number", "kind"),
    [(6001, "AUTO"), (6999, "AUTO"), (600000, "AUTO"), (699999, "AUTO"), (7001, "MF"), (8999, "LS"),
     (6000, None), (700000, None), (9001, None)],
)  # fmt: skip
def test_a_number_has_the_kind_of_its_range(number: int, kind: str | None) -> None:
    assert PLAN.kind_of(number) == kind


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"AUTO": "6001-7001", "MF": "7001-7999"}, "overlap"),
        ({"AUTO": "6001-6999, 6500-6600", "MF": "7001-7999"}, "overlap"),
        ({"AUTO": "6001-6999", "VIP": "5001-5999"}, "unknown kind VIP"),
        ({"AUTO": "6001-6999"}, "at least two"),
        ({"AUTO": "6999-6001", "MF": "7001-7999"}, "write 6001-6999"),
        ({"AUTO": "06001-6999", "MF": "7001-7999"}, "zero"),
        ({"AUTO": "6001-", "MF": "7001-7999"}, "empty"),
        ({"AUTO": "6001-69x9", "MF": "7001-7999"}, "other than digits"),
        ({"AUTO": "6001-6999", "MF": "7000-7999", "LS": "6999"}, "overlap"),
        ({"AUTO": "6001-6999", "MF": "7000-7999"}, "6999 lies in AUTO"),
        ({"AUTO": "1-99", "MF": "7001-7999"}, "probe"),
        ({"AUTO": "6001-6999", "MF": "700000-799999"}, "begin at 700001"),
        ({"AUTO": "10-99", "MF": "7001-7999"}, "begin at 11"),
        ({"AUTO": "1000000000000000", "MF": "7001-7999"}, "15 digits"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(OperatorError, match=said):
        NumberingPlan.parse(settings)


def test_expand_takes_numbers_texts_and_ranges() -> None:
    assert expand("AUTO", ["6001-6003", 6050, "6060", "6070-6071, 6080"]) == [
        6001, 6002, 6003, 6050, 6060, 6070, 6071, 6080,
    ]  # fmt: skip
    assert expand("AUTO", "6001-6002") == [6001, 6002]
    assert expand("AUTO", 6001) == [6001]


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (["6010-6001"], "write 6001-6010"),
        ([6001, "6001"], "write it once"),
        (["6001-6010", "6010-6020"], "6010 is in 6001-6010 and again in 6010-6020"),
        ([None], "neither a number nor a range"),
        ([True], "neither a number nor a range"),
        ([-5], "empty"),
        (["1-999999999999999"], "smaller range"),
    ],
)
def test_expand_refuses(items: list[str | int], said: str) -> None:
    with pytest.raises(OperatorError, match=f"slots of kind AUTO: .*{said}"):
        expand("AUTO", items)


def test_slots_of_settings_and_file_come_together_by_number(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "number,password\n6005,correct horse\n6003,\n")
    slots = all_slots(PLAN, {"MF": [7001], "AUTO": ["6001-6002"]}, path)
    assert [(slot.username, slot.kind, slot.password) for slot in slots] == [
        ("slot_6001", "AUTO", None),
        ("slot_6002", "AUTO", None),
        ("slot_6003", "AUTO", None),
        ("slot_6005", "AUTO", "correct horse"),
        ("slot_7001", "MF", None),
    ]
    assert "correct" not in repr(slots)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"AUTO": [7001]}, "7001 is of kind MF, not AUTO"),
        ({"AUTO": [9001]}, "9001 is outside the numbering plan"),
        ({"AUTO": [6000]}, "6000 is reserved for the probe"),
        ({"VIP": [6001]}, "no such kind"),
    ],
)
def test_settings_keep_to_the_plan(groups: dict[str, list[int]], said: str) -> None:
    with pytest.raises(OperatorError, match=said):
        all_slots(PLAN, groups)


def test_probe_users_lie_just_below_the_first_two_kinds() -> None:
    assert [(slot.username, slot.kind) for slot in probe_slots(PLAN)] == [
        ("slot_6000", "AUTO"),
        ("slot_7000", "MF"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "number,password\n6001,secret 12\n",
        "\ufeffnumber,password\r\n6001,secret 12\r\n",
        "password,kind,number\nsecret 12,AUTO,6001\n\n",
        'Number , PASSWORD\n"6001","secret 12"',
    ],
)
def test_a_file_as_spreadsheets_write_it(tmp_path: Path, content: str) -> None:
    (slot,) = load_csv(csv_file(tmp_path, content), PLAN)
    assert (slot.number, slot.kind, slot.password) == (6001, "AUTO", "secret 12")


def test_the_password_column_may_be_missing(tmp_path: Path) -> None:
    assert [slot.password for slot in load_csv(csv_file(tmp_path, "number\n6001\n6002\n"), PLAN)] == [
        None,
        None,
    ]


@pytest.mark.parametrize("password", ["пароль слота", 'it\'s "quoted", twice', "$(x);`y`\\#&", " spaces in "])
def test_any_printable_password_travels_out_and_in_again(tmp_path: Path, password: str) -> None:
    path = tmp_path / "out.csv"
    write_csv([(6001, password)], path)
    assert [slot.password for slot in load_csv(path, PLAN)] == [password]
    shown = io.StringIO()
    with redirect_stdout(shown):
        write_csv([(6001, password)])
    assert shown.getvalue() == path.read_text()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("6001,secret-12\n6001,secret-12", "line 3: 6001 is already in line 2"),
        ("6500,", "line 2: 6500 is already in slots of kind AUTO"),
        ("9001,", "line 2: 9001 is outside the numbering plan"),
        ("7000,", "line 2: 7000 is reserved for the probe"),
        ("6001", "line 2: 1 columns instead of 2"),
        ("6001,a,b-secret", "line 2: 3 columns instead of 2"),
        ('6001,"secret-12\n6002,secret-12', "line 2: a quote is not closed"),
        ('6001,"secret"-12', "line 2: a quote is not closed"),
        (",secret-12", "line 2: the number is empty"),
        ("06001,", "line 2: the number starts with a zero"),
        (" 6001,", "line 2: the number contains spaces"),
        ("6001\u00a0,", "line 2: the number contains spaces"),
        ("60a1,", "line 2: the number contains something other than digits"),
        ("٦٠٠١,", "line 2: the number contains something other than digits"),
        ("6001,secret\t12", "line 2: the password contains a control character"),
        ("6001,secret\u202812", "line 2: the password contains a control character"),
        ("6001,secret\x0012", "line 2: the password contains a control character"),
        ("6001,         ", "line 2: the password is only spaces"),
        ("6001,secret7", "line 2: the password is shorter than 8"),
    ],
)
def test_a_wrong_row_is_named_by_its_line_and_shows_no_password(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(OperatorError, match=said) as caught:
        load_csv(csv_file(tmp_path, f"number,password\n{row}\n"), PLAN, {6500: "slots of kind AUTO"})
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_kind_column_is_checked(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="line 3: 6002 is of kind AUTO, not MF"):
        load_csv(csv_file(tmp_path, "number,kind\n6001,AUTO\n6002,MF\n"), PLAN)


def test_all_mistakes_come_in_one_line(tmp_path: Path) -> None:
    rows = "\n".join(["1", "6001", "2", "3", "6001", "5"])
    with pytest.raises(OperatorError) as caught:
        load_csv(csv_file(tmp_path, f"number\n{rows}\n"), PLAN)
    message = str(caught.value)
    assert all(f"line {line}:" in message for line in (2, 4, 5))
    assert message.endswith("and 2 more")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1 is not a header"),
        (b"6001,secret-12\n", "line 1 is not a header"),
        (b"number;password\n6001;secret-12\n", "line 1 is not a header"),
        (b"number,number\n6001,6001\n", "line 1 is not a header"),
        ("number,password\n6001,пароль-слота\n".encode("cp1251"), "line 2 is not UTF-8"),
        ("number\n6001\n".encode("utf-16"), "line 1 is not UTF-8"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(OperatorError, match=said) as caught:
        load_csv(csv_file(tmp_path, content), PLAN)
    assert "secret" not in str(caught.value)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"none\.csv: .*No such file"):
        load_csv(tmp_path / "none.csv", PLAN)
    with pytest.raises(OperatorError, match="directory"):
        load_csv(tmp_path, PLAN)
