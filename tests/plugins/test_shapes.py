"""The `shapes` data set: its files, what each knob does, and that relevance is what the oracle says."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import ConfigError, RunError, create
from plugins.datasets.shapes import PRESETS, VOCABULARY, Shapes, answers, captions, files, render
from plugins.datasets.shapes.captions import Caption, Clause, Mention, relevant
from plugins.datasets.shapes.world import RELATIONS, WORDS_AT_MOST, Scene, Story, Thing, scene_lengths

SMALL = {"train_videos": 3, "val_videos": 2, "test_videos": 4, "seconds": 1.0, "resolution": 48, "fps": 6}
UNTWINNED = {"attribute": 1.0}


def shapes(**fields: object) -> Shapes:
    return create("dataset", "shapes", **fields)


def stories(count: int = 150, **fields: object) -> list[Story]:
    return shapes(test_videos=count, **fields).stories("test")


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.mp4"))
    }


def finished(folder: Path) -> int:
    manifest = folder / files.MANIFEST
    return len([line for line in manifest.read_text().splitlines() if line]) if manifest.exists() else 0


# ------------------------------------------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    shapes(**SMALL).prepare(folder)
    return folder


def test_the_same_configuration_gives_the_same_bytes(drawn, tmp_path):
    splits = shapes(**SMALL).prepare(tmp_path)
    assert digests(tmp_path) == digests(drawn)
    assert {name: len(split.videos) for name, split in splits.items()} == {"train": 3, "val": 2, "test": 4}
    assert len(digests(drawn)) == 9


def test_videos_can_be_read_and_have_the_length_asked_for(drawn):
    for path in drawn.rglob("*.mp4"):
        assert decoded(path).shape == (6, 48, 48, 3)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 6)


def test_a_second_call_draws_nothing_and_says_the_same(drawn):
    dataset, before = shapes(**SMALL), {path: path.stat().st_mtime_ns for path in drawn.rglob("*")}
    assert dataset.ready(drawn)
    splits = dataset.prepare(drawn)
    assert {path: path.stat().st_mtime_ns for path in drawn.rglob("*")} == before
    assert all(Path(video.path).is_file() for split in splits.values() for video in split.videos)
    assert not shapes(**SMALL, seed=1).ready(drawn)


def test_a_lost_or_damaged_file_is_drawn_again(tmp_path):
    dataset = shapes(**SMALL)
    splits = dataset.prepare(tmp_path)
    before = digests(tmp_path)
    lost, damaged = (Path(video.path) for video in splits["test"].videos[:2])
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert not dataset.ready(tmp_path)
    assert dataset.prepare(tmp_path) == splits
    assert digests(tmp_path) == before


def flip(path: Path, at: float = 0.5, keep_time: bool = False) -> None:
    """One bit of a file, as a disk may lose it."""
    content, state = bytearray(path.read_bytes()), path.stat()
    content[int(at * len(content))] ^= 1
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_video_with_one_flipped_bit_is_drawn_again(drawn, tmp_path, keep_time):
    folder = shutil.copytree(drawn, tmp_path / "set")
    assert shapes(**SMALL).ready(folder)
    flip(folder / "test" / "test-00001.mp4", keep_time=keep_time)
    assert digests(folder) != digests(drawn)
    files._crc32.cache_clear()  # what a new process knows
    assert not shapes(**SMALL).ready(folder)
    shapes(**SMALL).prepare(folder)
    assert digests(folder) == digests(drawn)
    assert shapes(**SMALL).ready(folder)


@pytest.mark.parametrize("file", ["attributes-test.jsonl", "generator.json", files.MANIFEST])
def test_what_is_written_of_the_videos_is_made_anew_where_any_bit_is_flipped(drawn, tmp_path, file):
    dataset = shapes(**SMALL)
    splits = dataset.prepare(shutil.copytree(drawn, tmp_path / "whole"))
    names = {name: [text.text for text in split.texts] for name, split in splits.items()}
    for at in np.linspace(0, 0.999, 12):
        folder = shutil.copytree(drawn, tmp_path / f"at-{at:.3f}")
        flip(folder / file, at)
        made = dataset.prepare(folder)
        assert {name: [text.text for text in split.texts] for name, split in made.items()} == names
        assert {name: split.pairs for name, split in made.items()} == {n: split.pairs for n, split in splits.items()}
        assert digests(folder) == digests(drawn)
        assert dataset.ready(folder)


def test_a_set_whose_manifest_has_no_checksums_is_drawn_again_to_the_same_bytes(drawn, tmp_path):
    folder = shutil.copytree(drawn, tmp_path / "set")
    lines = [json.loads(line) for line in (folder / files.MANIFEST).read_text().splitlines() if line]
    for line in lines:
        del line["crc32"]
    (folder / files.MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert not shapes(**SMALL).ready(folder)
    shapes(**SMALL).prepare(folder)
    assert digests(folder) == digests(drawn)


def test_the_files_of_a_large_set_are_verified_in_well_under_a_second(tmp_path):
    jobs = {f"test/{number}.mp4": {"number": number} for number in range(2500)}
    (tmp_path / "test").mkdir()
    content, lines = os.urandom(15_000), []
    for path, job in files.missing_videos(tmp_path, jobs).items():
        (tmp_path / path).write_bytes(content)
        lines.append({"file": path, "job": job, "bytes": len(content), "crc32": zlib.crc32(content)})
    (tmp_path / files.MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines))
    started = time.process_time()
    assert not files.missing_videos(tmp_path, jobs)
    assert time.process_time() - started < 0.8


def test_a_killed_call_is_taken_up_where_it_stopped(tmp_path):
    fields = {**SMALL, "train_videos": 120, "resolution": 96}
    program = (
        f"from core import create; create('dataset', 'shapes', **{fields!r}).prepare(__import__('pathlib').Path('.'))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path)
    deadline = time.monotonic() + 60
    while finished(tmp_path) < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with open(tmp_path / files.MANIFEST, "a") as manifest:
        manifest.write('{"file": "train/tr')
    kept = finished(tmp_path) - 1
    times = {path: path.stat().st_mtime_ns for path in list(tmp_path.rglob("train-0000[0-4].mp4"))}
    assert 5 <= kept < 126
    (tmp_path / "train" / ".train-00119.mp4.1.part").write_bytes(b"half")
    shapes(**fields).prepare(tmp_path)
    assert not list(tmp_path.rglob("*.part"))
    assert len(times) == 5
    assert all(path.stat().st_mtime_ns == before for path, before in times.items())
    assert len(digests(tmp_path)) == 126
    assert shapes(**fields).ready(tmp_path)


def test_an_enlarged_split_begins_with_the_same_videos():
    for preset in PRESETS:
        assert stories(80, preset=preset)[:50] == stories(50, preset=preset)
    assert stories(5) != stories(5, seed=1)
    assert [story.scenes for story in shapes().stories("val")[:5]] != [story.scenes for story in stories(5)]


def test_a_split_of_no_videos_is_left_out(tmp_path):
    assert set(shapes(**{**SMALL, "train_videos": 0, "val_videos": 0}).prepare(tmp_path)) == {"test"}


def test_a_video_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "test" / "test-00000.mp4").mkdir(parents=True)
    with pytest.raises(RunError, match=r"test-00000.mp4: could not be drawn: IsADirectoryError"):
        shapes(**SMALL).prepare(tmp_path)


def test_the_drawing_program_imports_nothing_of_this_project():
    imported = {
        name
        for node in ast.walk(ast.parse(Path(render.__file__).read_text()))
        for name in (
            [item.name for item in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "")]
        )
    }
    assert not {name for name in imported if name and name.split(".")[0] in ("core", "plugins", "torch")}


def test_records_tell_what_is_in_each_video(drawn):
    lines = [json.loads(line) for line in (drawn / "attributes-test.jsonl").read_text().splitlines()]
    for line, story in zip(lines, shapes(**SMALL).stories("test"), strict=True):
        assert line["id"] == story.id
        assert [scene["background"] for scene in line["scenes"]] == [scene.background for scene in story.scenes]
        assert [said["text"] for said in line["captions"]] == [caption.text for caption in captions(story)]


# ---------------------------------------------------------------------------------------------------- captions


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("scenes", [None, 4, 5, 6])
def test_captions_are_short_and_use_known_words_only(preset, scenes):
    for span in (None, "whole", "sequence"):
        spare = {} if span is None else {"span": span, "twins": 0.0}
        for story in stories(60, preset=preset, scenes=scenes, **spare):
            for caption in captions(story):
                assert set(caption.text.split()) <= set(VOCABULARY)
                assert len(caption.text.split()) <= WORDS_AT_MOST


def test_every_word_is_used():
    knobs = {"span": {"dominant": 1.0, "sequence": 1.0, "whole": 1.0}, "captions_per_video": 4}
    told = [story for motion in ("unsaid", "said") for story in stories(300, motion=motion, **knobs)]
    assert {word for story in told for caption in captions(story) for word in caption.text.split()} == set(VOCABULARY)


def test_captions_of_a_video_come_in_two_wordings():
    for story in stories(20, captions_per_video=4):
        wordings = [plan.wording for plan in story.plans]
        assert wordings in ([0, 1, 0, 1], [1, 0, 1, 0])


def thing_facts(thing: Thing) -> set[tuple[str, str]]:
    return {("shape", thing.shape), ("colour", thing.colour), ("size", thing.size), ("motion", thing.motion)}


def stands(one: Thing, relation: str, other: Thing) -> bool:
    upright, level = {"up", "down"}, {"left", "right"}
    crossing = upright if relation in ("above", "below") else level
    if {one.motion, other.motion} & crossing:
        return False
    return {
        "above": one.row < other.row, "below": one.row > other.row,
        "left": one.column < other.column, "right": one.column > other.column,
    }[relation]  # fmt: skip


def true_of_scene(clause: Clause, scene: Scene) -> bool:
    """Written anew from the definition, over every choice of things."""
    if clause.background and clause.background != scene.background:
        return False
    if clause.texture and clause.texture != scene.texture:
        return False
    claims = [{item for item in vars(mention).items() if item[1]} for mention in clause.mentions]
    facts = [thing_facts(thing) for thing in scene.things]
    if len(claims) == 1:
        return any(claims[0] <= fact for fact in facts)
    return any(
        first != second
        and claims[0] <= facts[first]
        and claims[1] <= facts[second]
        and (not clause.relation or stands(scene.things[first], clause.relation, scene.things[second]))
        for first in range(len(facts))
        for second in range(len(facts))
    )


def true_of_video(caption: Caption, story: Story) -> bool:
    true = [[true_of_scene(clause, scene) for scene in story.scenes] for clause in caption.clauses]
    if not caption.ordered:
        return all(any(row) for row in true)
    first, second = true
    return any(first[one] and second[two] for two in range(len(second)) for one in range(two))


@pytest.mark.parametrize("preset", PRESETS)
def test_relevance_is_exactly_what_the_oracle_says(preset):
    told = stories(120, preset=preset, vague=0.5)
    asked = [caption for story in told for caption in captions(story)]
    expected = [[row for row, story in enumerate(told) if true_of_video(caption, story)] for caption in asked]
    assert relevant(asked, told) == expected
    assert [[row for row, story in enumerate(told) if answers(caption, story)] for caption in asked] == expected


things = st.builds(
    Thing,
    shape=st.sampled_from(["circle", "square"]),
    colour=st.sampled_from(["red", "blue"]),
    size=st.sampled_from(["small", "large"]),
    motion=st.sampled_from(["still", "left", "up"]),
    row=st.integers(0, 2),
    column=st.integers(0, 2),
)
mentions = st.builds(
    Mention,
    shape=st.sampled_from(["circle", "square"]),
    colour=st.sampled_from([None, "red"]),
    size=st.sampled_from([None, "small"]),
    motion=st.sampled_from([None, "left"]),
)
clauses = st.builds(
    Clause,
    st.lists(mentions, min_size=1, max_size=2).map(tuple),
    relation=st.sampled_from([None, *RELATIONS]),
    background=st.sampled_from([None, "black"]),
    texture=st.sampled_from([None, "striped"]),
)
scenes = st.builds(
    Scene,
    background=st.sampled_from(["black", "white"]),
    texture=st.sampled_from(["plain", "striped"]),
    things=st.lists(
        things, min_size=1, max_size=3, unique_by=(lambda thing: thing.row, lambda thing: thing.column)
    ).map(tuple),
    frames=st.just(1),
    seed=st.just(0),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(scenes, min_size=1, max_size=3), min_size=1, max_size=6),
    st.lists(st.tuples(st.lists(clauses, min_size=2, max_size=2), st.booleans()), min_size=1, max_size=4),
)
def test_relevance_is_right_for_any_claim_about_any_video(worlds, claims):
    told = [Story(str(row), tuple(world), (0,), ()) for row, world in enumerate(worlds)]
    asked = [Caption(tuple(parts), ordered, "") for parts, ordered in claims]
    expected = [[row for row, story in enumerate(told) if true_of_video(caption, story)] for caption in asked]
    assert relevant(asked, told) == expected


def test_the_split_holds_every_relevant_pair(drawn):
    split, told = shapes(**SMALL).prepare(drawn)["train"], shapes(**SMALL).stories("train")
    asked = [caption for story in told for caption in captions(story)]
    assert [text.text for text in split.texts] == [caption.text for caption in asked]
    true = [(row, video) for row, c in enumerate(asked) for video, story in enumerate(told) if true_of_video(c, story)]
    assert split.pairs == true


@pytest.mark.parametrize("preset", PRESETS)
def test_an_oracle_on_the_attributes_retrieves_everything(preset):
    told = stories(200, preset=preset)
    asked = [captions(story)[0] for story in told]
    found = relevant(asked, told)
    assert all(true_of_video(caption, story) for caption, story in zip(asked, told, strict=True))
    assert all(row in rows for row, rows in enumerate(found))
    assert np.mean([rows == [row] for row, rows in enumerate(found)]) > 0.6


def test_relevance_of_a_test_split_takes_less_than_two_seconds():
    told = stories(700, scenes=4, distractors=0, captions_per_video=2)
    asked = [caption for story in told for caption in captions(story)]
    started = time.process_time()
    relevant(asked, told)
    assert time.process_time() - started < 2


# ------------------------------------------------------------------------------------------------------- knobs


@given(st.integers(1, 6), st.integers(6, 80), st.floats(0, 0.95))
def test_scene_lengths_fill_the_video(scenes, frames, skew):
    lengths = scene_lengths(frames, scenes, skew)
    assert sum(lengths) == frames
    assert min(lengths) >= 1
    assert lengths[0] == max(lengths)


def test_length_skew_gives_one_scene_more_of_the_video():
    assert scene_lengths(12, 3, 0.0) == [4, 4, 4]
    assert scene_lengths(12, 3, 0.5) == [8, 2, 2]
    longest = [max(scene.frames for scene in story.scenes) for story in stories(20, scenes=3, length_skew=0.5)]
    assert set(longest) == {16}


def test_which_scene_is_longest_is_left_to_chance():
    places = [np.argmax([scene.frames for scene in story.scenes]) for story in stories(150, length_skew=0.5)]
    assert np.bincount(places, minlength=3).min() > 30


def test_span_chooses_the_scenes_that_captions_cover():
    common = {"scenes": 4, "distractors": 1, "length_skew": 0.5, "twins": 0.0}
    for span in ("brief", "dominant", "sequence", "whole"):
        for story in stories(40, span=span, **common):
            for plan in story.plans:
                covered = [clause.scene for clause in plan.clauses]
                lengths = {row: story.scenes[row].frames for row in story.captioned}
                if span in ("brief", "dominant"):
                    assert len(covered) == 1
                    assert lengths[covered[0]] == (min if span == "brief" else max)(lengths.values())
                elif span == "sequence":
                    assert len(covered) == 2
                    assert covered == sorted(covered)
                    assert plan.ordered
                else:
                    assert tuple(covered) == story.captioned
                    assert not plan.ordered


def test_span_is_a_mixture():
    spans = [plan.span for story in stories(400, span={"brief": 1, "whole": 3}, twins=0.0) for plan in story.plans]
    assert set(spans) == {"brief", "whole"}
    assert 0.7 < spans.count("whole") / len(spans) < 0.8


def test_no_caption_speaks_of_a_distractor():
    for story in stories(50, scenes=5, distractors=2, span="whole", twins=0.0):
        assert len(story.captioned) == 3
        assert {clause.scene for plan in story.plans for clause in plan.clauses} <= set(story.captioned)


def twins(kind: str, **fields: object) -> list[tuple[Story, Story]]:
    common = {"scenes": 2, "distractors": 0, "span": "sequence", "motion": "said", "vague": 0.0}
    told = stories(120, **{**common, "twins": 0.5, "twin_kind": kind, **fields})
    by_id = {story.id: story for story in told}
    return [(by_id[story.twin_of], story) for story in told if story.twin_of]


def differences(one: Story, other: Story) -> list[tuple[str, object, object]]:
    """(attribute, before, after) over scenes and things in the same places."""
    found: list[tuple[str, object, object]] = []
    for before, after in zip(one.scenes, other.scenes, strict=True):
        pairs = [(replace(before, things=()), replace(after, things=()))]
        for first, second in [*pairs, *zip(before.things, after.things, strict=True)]:
            found += [
                (name, vars(first)[name], vars(second)[name])
                for name in vars(first)
                if vars(first)[name] != vars(second)[name]
            ]
    return found


@pytest.mark.parametrize("kind", ["attribute", "relation", "order", "direction"])
def test_a_twin_and_its_original_answer_different_captions_of_the_same_words(kind):
    pairs = twins(kind)
    assert len(pairs) > 15
    for original, twin in pairs:
        assert original.twin_of is None
        assert original.id < twin.id
        first, second = captions(original)[0], captions(twin)[0]
        assert not true_of_video(first, twin)
        assert not true_of_video(second, original)
        assert first.text != second.text
        assert len(first.text.split()) == len(second.text.split())
        if kind == "order":
            assert sorted(first.text.split()) == sorted(second.text.split())


def test_an_attribute_twin_differs_in_one_attribute_of_one_thing():
    for original, twin in twins("attribute"):
        assert len(differences(original, twin)) == 1
        assert differences(original, twin)[0][0] in ("shape", "colour", "size")


def test_a_relation_twin_has_two_things_in_each_others_place():
    for original, twin in twins("relation"):
        changed = differences(original, twin)
        assert sorted(name for name, _, _ in changed) == ["column", "column", "row", "row"]


def test_an_order_twin_has_the_same_scenes_in_reverse():
    for original, twin in twins("order"):
        assert twin.scenes == original.scenes[::-1]


def test_a_direction_twin_has_one_thing_moving_the_other_way():
    turned = {("left", "right"), ("right", "left"), ("up", "down"), ("down", "up")}
    for original, twin in twins("direction"):
        [(name, before, after)] = differences(original, twin)
        assert name == "motion"
        assert (before, after) in turned


def test_twins_have_the_share_asked_for():
    share = np.mean([story.twin_of is not None for story in stories(1000, twins=0.3)])
    assert 0.25 < share < 0.35
    assert not any(story.twin_of for story in stories(100, twins=0.0))


def test_vague_captions_are_answered_by_several_videos():
    def average(vague: float) -> float:
        told = stories(150, vague=vague, twins=0.0)
        asked = [caption for story in told for caption in captions(story)]
        return float(np.mean([len(found) for found in relevant(asked, told)]))

    assert average(0.0) < 2.5 < 5 < average(1.0)


def test_motion_is_in_the_videos_and_in_the_captions_as_asked():
    def facts(motion: str) -> tuple[bool, bool]:
        told = stories(60, motion=motion)
        moving = any(thing.motion != "still" for story in told for scene in story.scenes for thing in scene.things)
        said = any("moving" in caption.text or "goes" in caption.text for story in told for caption in captions(story))
        return moving, said

    assert [facts(motion) for motion in ("still", "unsaid", "said")] == [(False, False), (True, False), (True, True)]


def test_things_of_a_scene_share_no_row_and_no_column():
    for story in stories(100):
        for scene in story.scenes:
            assert len({thing.row for thing in scene.things}) == len(scene.things)
            assert len({thing.column for thing in scene.things}) == len(scene.things)


# ----------------------------------------------------------------------------------------------------- drawing


def picture(*things: Thing, frames: int = 1, background: str = "black", **look: float) -> np.ndarray:
    scene = {
        "background": background,
        "texture": "plain",
        "things": [vars(t) for t in things],
        "frames": frames,
        "seed": 5,
    }
    return render.draw({"scenes": [scene], "side": 96, "smallest": 0.1, "noise": 0.0, "palette_shift": 0.0, **look})


def covered(frame: np.ndarray, background: str = "black") -> np.ndarray:
    """bool [side, side]: where something other than the background is."""
    return abs(frame.astype(int) - picture(background=background)[0]).sum(-1) > 60


BALL = Thing("circle", "yellow", "small", "still", 0, 2)


@pytest.mark.parametrize("shape", ["circle", "square", "triangle", "star", "cross", "ring", "diamond", "heart"])
@pytest.mark.parametrize(("size", "diameter"), [("small", 0.1), ("medium", 0.22), ("large", 0.36)])
def test_a_thing_has_its_size_and_stands_in_its_cell(shape, size, diameter):
    y, x = np.nonzero(covered(picture(replace(BALL, shape=shape, size=size))[0]))
    wide, high = np.ptp(x) + 1, np.ptp(y) + 1
    assert 0.7 * diameter * 96 <= max(wide, high) <= 1.15 * diameter * 96 + 2
    assert x.mean() > 64
    assert y.mean() < 32


def test_the_smallest_size_is_a_field():
    areas = [covered(picture(BALL, smallest=size)[0]).sum() for size in (0.06, 0.1, 0.2)]
    assert all(larger > 2 * smaller for smaller, larger in pairwise(areas))


@pytest.mark.parametrize(("motion", "axis", "sign"), [("left", 1, -1), ("right", 1, 1), ("up", 0, -1), ("down", 0, 1)])
def test_a_moving_thing_crosses_the_frame_in_its_direction(motion, axis, sign):
    frames = picture(replace(BALL, motion=motion), frames=6)
    path = [np.argwhere(covered(frame)).mean(0)[axis] for frame in frames]
    assert (np.diff(path) * sign > 5).all()


def test_opposite_directions_show_the_same_frames_in_reverse():
    left, right = (picture(replace(BALL, motion=motion), frames=6) for motion in ("left", "right"))
    assert np.array_equal(left, right[::-1])


def test_the_direction_of_light_and_colour_survives_compression(tmp_path):
    frames = picture(replace(BALL, size="large"), frames=8, noise=0.015)
    render.encode(tmp_path / "x.mp4", frames, 8)
    assert abs(decoded(tmp_path / "x.mp4").astype(int) - frames).mean() < 6


def test_noise_has_the_deviation_asked_for():
    clean, noisy = picture(background="grey", frames=4), picture(background="grey", frames=4, noise=0.04)
    assert np.std(noisy.astype(float) - clean) == pytest.approx(0.04 * 255, rel=0.1)
    assert not np.array_equal(noisy[0], noisy[1])


def test_palette_shift_turns_and_pales_colours():
    red = [
        picture(replace(BALL, colour="red", size="large"), palette_shift=shift)[0].max((0, 1))
        for shift in (0.0, 0.5, 1.0)
    ]
    chroma = [int(pixel.max()) - int(pixel.min()) for pixel in red]
    assert chroma[0] > chroma[1] > chroma[2] > 50
    assert red[2].argmax() == 0


def test_twins_are_drawn_alike_but_for_what_differs():
    original, twin = twins("attribute", scenes=2)[0]
    dataset = shapes(scenes=2)
    first, second = (
        render.draw(next(iter(dataset._jobs({"test": [{"file": "x", "scenes": scenes}]}).values())))
        for scenes in (plain(original), plain(twin))
    )
    assert (first != second).any(-1).mean() < 0.2


def plain(story: Story) -> list[dict[str, object]]:
    return [{**vars(scene), "things": [vars(thing) for thing in scene.things]} for scene in story.scenes]


# ----------------------------------------------------------------------------------------------------- presets


def test_a_knob_that_is_given_wins_over_the_preset():
    assert shapes(preset="control").config.knobs == PRESETS["control"]
    assert shapes(preset="control", scenes=3, noise=0).config.knobs == replace(PRESETS["control"], scenes=3, noise=0.0)


@pytest.mark.parametrize("preset", ["easy", "control"])
def test_presets_without_a_question_of_coverage_have_one_scene(preset):
    for story in stories(20, preset=preset):
        assert len(story.scenes) == 1
        assert all(len(caption.clauses) == 1 for caption in captions(story))


def test_only_the_temporal_preset_says_which_way_things_move():
    assert {name for name, knobs in PRESETS.items() if knobs.motion == "said"} == {"temporal"}
    assert all(caption.ordered for story in stories(20, preset="temporal") for caption in captions(story))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"preset": "hard"}, "is not allowed"),
        ({"scenes": 7}, "at most 6"),
        ({"scenes": 2, "distractors": 2}, "2 of 2 scenes leaves none for captions"),
        ({"span": {"half": 1}}, "span: no `half`. Known: brief, dominant, sequence, whole"),
        ({"span": {"whole": 0}}, "one of them above 0"),
        ({"seconds": 0.1, "scenes": 3}, "1 frames, fewer than scenes"),
        ({"resolution": 97}, "even side"),
        ({"twins": 0.2, "twin_kind": "order", "span": "whole"}, "needs captions of span `sequence`"),
        ({"twins": 0.2, "twin_kind": "direction"}, "motion: said"),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        shapes(**fields)
