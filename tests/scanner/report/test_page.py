"""The page: claims what was measured, escapes everything, reaches for nothing outside itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from run_folder import POINT, crop, match, reject, write_run

from scanner.records import Reason
from scanner.report.page import REASON_TEXT, headline, render, write_page
from scanner.report.read import GROUPS_MAX, PAIRS_MAX, read_run

VOID = {"meta", "img", "br"}
NASTY = [
    "<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "{{ 7 * 7 }}{% raw %}", "</bdi></span><h1>x",
    "javascript:alert(1)", "https://evil.example/a.png", "x" * 5000, "\u202egnp.exe", "שלום/تصوير.png", "a&amp;b",
    "line\nbreak\ttab", "'; DROP TABLE", "-->", "]]>",
]  # fmt: skip


class Page(HTMLParser):
    """What a browser sees: tags, attributes and text; notes what is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"[ \n]+", " ", " ".join(self.texts))


def page_of(folder: Path) -> Page:
    page = Page(render(read_run(folder)))
    assert page.open == []
    return page


def calibrated(expected: float) -> dict[str, object]:
    return {"threshold": {"value": 0.43, "origin": "calibrated", "point": POINT, "calibrated_on": "lfw.tar"}, "results": {
        "queries": 3, "matches": 2, "matched_queries": 1, "matched_identities": 2, "comparisons": 607_797,
        "false_matches_expected": expected,
    }}  # fmt: skip


def test_a_run_without_matches_says_so_and_claims_no_more(tmp_path):
    folder = write_run(tmp_path, [])
    page = page_of(folder)

    assert headline(read_run(folder)) == "None of 3 scanned faces comes as close to a reference as the threshold."
    assert "Matches by identity None." in page.text
    assert "No match is no proof of absence." in page.text
    assert "bar above" in render(read_run(folder))  # a best score of 0.6 is above 0.43


@pytest.mark.parametrize(
    ("expected", "sentence"),
    [
        (0.0, "about 0 pairs are expected by chance alone."),
        (0.0421, "about 0.042 pairs are expected by chance alone."),
        (9.96, "about 10 pairs are expected by chance alone."),
        (60.2, "about 60 pairs are expected by chance alone."),
        (12345.6, "about 12\u2009346 pairs are expected by chance alone."),
    ],
)
def test_the_headline_holds_the_matches_against_chance(tmp_path, expected, sentence):
    run = read_run(write_run(tmp_path, [match(0, 1, 0.6), match(0, 2, 0.5)], **calibrated(expected)))

    assert headline(run) == (
        f"1 of 3 scanned faces comes closer to a reference than the threshold, in 2 pairs; {sentence}"
    )


def test_without_a_calibration_nothing_is_said_of_chance(tmp_path):
    run = read_run(write_run(tmp_path, [match(0, 1, 0.6), match(1, 2, 0.5)]))

    assert headline(run) == (
        "2 of 3 scanned faces come closer to a reference than the threshold, in 2 pairs; "
        "how many would by chance is not known."
    )
    assert "Threshold 0.4300 , given by hand." in Page(render(run)).text


def test_a_calibrated_threshold_comes_with_its_rates(tmp_path):
    text = page_of(write_run(tmp_path, [match(0, 1, 0.6), match(0, 2, 0.5)], **calibrated(60.2))).text

    assert (
        "Threshold 0.4300 from a calibration on lfw.tar : among 1\u2009000\u2009000 pairs of different people 99 reach it, "
        "a false match rate of 9.90e-05 (95 % interval 8.0e-05 to 1.2e-04). "
        "Of 2\u2009500 pairs of one person 98.8 % reach it."
    ) in text
    assert "so about 60 would match by chance" in text


def test_a_calibration_without_mated_pairs_claims_no_rate_of_them(tmp_path):
    settings = calibrated(1.0)
    settings["threshold"] = {
        "value": 0.43, "origin": "calibrated", "calibrated_on": "x",
        "point": {**POINT, "tar": None, "tar_interval": None, "mated_pairs": 0},
    }  # fmt: skip

    assert "pairs of one person" not in page_of(write_run(tmp_path, [match(0, 1, 0.6)], **settings)).text


@pytest.mark.parametrize("nasty", NASTY)
def test_whatever_stands_in_the_data_is_text(tmp_path, nasty):
    plain = page_of(write_run(tmp_path / "plain", [match(0, 1, 0.6)], rejects=[reject("a")]))
    row = match(0, 1, 0.6, query_uri=nasty, reference_uri=nasty, identity=nasty, index=nasty)
    folder = write_run(tmp_path / "nasty", [row], rejects=[reject(nasty, nasty, level=nasty)], queries=[nasty])

    page = page_of(folder)

    assert page.tags == plain.tags
    assert [a[:2] for a in page.attributes] == [a[:2] for a in plain.attributes]
    assert page.texts.count(nasty) >= 5
    assert ("span", "title", nasty) in page.attributes


def test_the_page_reaches_for_nothing_outside_itself(tmp_path):
    rows = [match(1, 5, 0.6, query_uri="https://bucket.example/a.png")]
    crops = [crop("query", rows[0]["query_id"], 40), crop("reference", 5, 90)]
    page = page_of(write_run(tmp_path, rows, crops=crops, rejects=[reject("s3://b/x")], with_crops=True))

    assert not {"script", "link", "iframe", "object", "embed", "base", "form", "a", "use", "image"} & set(page.tags)
    assert not [
        a for a in page.attributes if a[1].startswith("on") or a[1] in {"href", "xlink:href", "action", "srcset"}
    ]
    sources = [value for _, name, value in page.attributes if name == "src"]
    assert len(sources) == 2
    assert all(value.startswith("data:image/jpeg;base64,") for value in sources)
    html = render(read_run(tmp_path))
    assert "url(" not in html
    assert "@import" not in html
    assert ("meta", "content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in page.attributes


def test_crops_are_shown_only_when_the_run_kept_them(tmp_path):
    rows = [match(1, 5, 0.6), match(2, 6, 0.5)]
    crops = [crop("query", rows[0]["query_id"], 40)]

    assert page_of(write_run(tmp_path / "without", rows)).tags.count("img") == 0
    assert page_of(write_run(tmp_path / "with", rows, crops=crops, with_crops=True)).tags.count("img") == 1
    assert ("i", "title", "not kept") in page_of(tmp_path / "with").attributes


def test_what_the_page_does_not_show_is_counted(tmp_path):
    rows = [match(n, n, 0.9 - n / 1000) for n in range(GROUPS_MAX + 10)]
    rows += [match(n, 0, 0.8, rank=2) for n in range(1000, 1000 + PAIRS_MAX + 2)]

    page = page_of(write_run(tmp_path, rows))

    assert page.tags.count("header") == GROUPS_MAX
    assert "3 more in matches.parquet" in page.text
    assert f"10 more identities in matches.parquet ; the page shows the {GROUPS_MAX} closest." in page.text


def test_at_the_limits_nothing_is_said_to_be_left(tmp_path):
    rows = [match(n, n, 0.9 - n / 1000) for n in range(GROUPS_MAX)]
    rows += [match(n, 0, 0.8, rank=2) for n in range(1000, 1000 + PAIRS_MAX - 1)]

    text = page_of(write_run(tmp_path, rows)).text

    assert " more in matches.parquet" not in text
    assert " more identities" not in text


def test_rendering_again_gives_the_same_bytes(tmp_path):
    rows = [match(q, r, 0.5 + r / 100) for q in range(5) for r in range(5)]
    crops = [crop("query", rows[0]["query_id"], 40), crop("reference", 4, 90)]
    folder = write_run(tmp_path, rows, crops=crops, rejects=[reject("a")], with_crops=True)

    first = write_page(folder).read_bytes()
    (folder / "report.html").unlink()

    assert write_page(folder) == folder / "report.html"
    assert (folder / "report.html").read_bytes() == first
    assert str(tmp_path).encode() not in first


def test_counts_of_every_image_are_written_as_a_sum(tmp_path):
    text = page_of(write_run(tmp_path, [], rejects=[reject("a.jpg"), reject("b.jpg", "truncated")])).text

    assert "6 read = 3 with faces + 1 duplicates + 2 rejected." in text
    assert "no_face no face was seen item 1 a.jpg" in text
    assert "truncated the picture is cut short item 1 b.jpg" in text


def test_what_was_searched_is_said(tmp_path):
    text = page_of(write_run(tmp_path, [])).text

    assert "celeba 202\u2009599 exact few rows 8 of 8 0123456789abcdef" in text
    assert "embedder input size [112, 112]" in text
    assert "faces detect, central, scrfd.onnx aaaaaaaaaaaaaaaa" in text
    assert "versions scanner 0.1.0, numpy 2" in text


def test_a_run_of_ready_embeddings_has_no_face_road(tmp_path):
    road = {"embedder": {"name": "ready embeddings"}, "faces": None}

    assert "faces detect" not in page_of(write_run(tmp_path, [], road=road)).text


def test_every_reason_has_a_text():
    assert set(REASON_TEXT) == {reason.value for reason in Reason}
