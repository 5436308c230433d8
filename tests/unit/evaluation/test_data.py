"""Reading the evaluation sets, and drawing shots."""

import pytest

from kogpt_bot.errors import ConfigurationError
from kogpt_bot.evaluation.data import BENCHMARKS, Item, draw_items, draw_shots, read

NSMC, YNAT, STS = (BENCHMARKS[name] for name in ("nsmc", "ynat", "klue_sts"))


def write(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_nsmc_has_its_labels_in_order(tmp_path):
    write(tmp_path, "a.tsv", 'id\tdocument\tlabel\n1\t"정말" 좋아요\t1\n2\t별로\t0\n3\t\t1\n')
    assert read(tmp_path, "a.tsv", NSMC) == [Item('"정말" 좋아요', 1), Item("별로", 0)]


def test_ynat_has_seven_topics(tmp_path):
    rows = "".join(f"제목 {label}\t{label}\n" for label in YNAT.labels)
    write(tmp_path, "a.tsv", f"title\tlabel\n{rows}")
    assert [item.label for item in read(tmp_path, "a.tsv", YNAT)] == list(range(7))


@pytest.mark.parametrize(("similarity", "label"), [("2.9", 0), ("3.0", 1), ("5", 1), ("0.0", 0)])
def test_two_sentences_of_similarity_three_mean_the_same(tmp_path, similarity, label):
    row = f"g\t비가 와요\t비가 내려요\t{similarity}\t0\n"
    write(tmp_path, "a.tsv", f"guid\tsentence1\tsentence2\tlabel\tbinary\n{row}")
    assert read(tmp_path, "a.tsv", STS) == [Item("비가 와요", label, "비가 내려요")]


@pytest.mark.parametrize(
    ("benchmark", "text", "message"),
    [
        (NSMC, "id\tdocument\n", r"a\.tsv:1: the column label is missing"),
        (NSMC, "document\tlabel\n좋아\t2\n", r"a\.tsv:2: the label '2'; allowed: 0, 1"),
        (YNAT, "title\tlabel\n제목\t연예\n", r"a\.tsv:2: the label '연예'; allowed: IT과학"),
        (STS, "sentence1\tsentence2\tlabel\n가\t나\t같음\n", "allowed: a similarity from 0 to 5"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path, benchmark, text, message):
    write(tmp_path, "a.tsv", text)
    with pytest.raises(ConfigurationError, match=message):
        read(tmp_path, "a.tsv", benchmark)


def test_a_missing_file_says_where_to_look(tmp_path):
    with pytest.raises(ConfigurationError, match=r"docs/evaluation\.md"):
        read(tmp_path, "none.tsv", NSMC)


def pool(classes, each=20):
    return [Item(f"{label}-{n}", label) for label in range(classes) for n in range(each)]


@pytest.mark.parametrize(("count", "classes"), [(8, 2), (7, 7), (10, 7), (1, 2), (0, 7)])
def test_shots_are_balanced_and_the_seed_decides(count, classes):
    shots = draw_shots(pool(classes), count, classes, seed=3)
    per_class = [sum(shot.label == label for shot in shots) for label in range(classes)]
    assert sum(per_class) == count
    assert max(per_class) - min(per_class) <= 1
    assert len(set(shots)) == count
    assert shots == draw_shots(pool(classes), count, classes, seed=3)
    if count >= 7:
        assert shots != draw_shots(pool(classes), count, classes, seed=4)


def test_shots_are_not_sorted_by_class():
    labels = [[s.label for s in draw_shots(pool(2), 8, 2, seed)] for seed in range(5)]
    assert any(each != sorted(each) and each != sorted(each, reverse=True) for each in labels)


def test_too_many_shots_are_refused():
    with pytest.raises(ConfigurationError, match="--shots 100 needs 50 examples"):
        draw_shots(pool(2), 100, 2, seed=0)


def test_a_limit_takes_the_same_items_each_time():
    items = pool(2)
    assert draw_items(items, None, 0) == items
    some = draw_items(items, 5, 0)
    assert some == draw_items(items, 5, 0)
    assert len(set(some)) == 5
