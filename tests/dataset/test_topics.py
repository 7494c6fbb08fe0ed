"""A Chinese problem finds its subtopic by its topic, its routes or its words, or is unknown."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from dataset.build import build
from dataset.sources import k12_zh
from dataset.topics import RULES_FILE, UNKNOWN, curriculum, topic_by_routes, topic_of, topics

FIXTURES = Path(__file__).parent / "fixtures"


def test_k12_reports_coverage_of_the_76_subtopics_of_the_others_and_of_unknown(tmp_path: Path) -> None:
    coverage = build("k12_zh", [FIXTURES / "k12_zh.jsonl"], tmp_path, quiet=True).summary["subtopics"]
    assert list(coverage) == [*topics().values(), UNKNOWN]
    assert sum(coverage.values()) == 2
    assert coverage["一元一次方程"] == 1
    assert len(curriculum()) == 76
    assert len(set(topics())) == len(set(topics().values())) == 97


@pytest.mark.parametrize(
    ("fields", "topic"),
    [
        ({"topic": "周长"}, "周长"),
        ({"topic": "perimeter"}, "周长"),
        ({"topic": "unknown"}, UNKNOWN),
        ({"routes": ["拓展思维->能力->运算求解", "拓展思维->应用题模块->盈亏问题->盈亏基本类型"]}, "盈亏问题"),
        ({}, "鸡兔同笼"),
    ],
)
def test_a_chinese_problem_finds_its_subtopic(fields: dict[str, object], topic: str) -> None:
    question = "鸡兔同笼，有35个头，94只脚，鸡有几只？"
    row = {"id": "1", "question": question, "answer": "23", "style": "cot", "solution": "s"}
    (found,) = k12_zh.convert(row | fields, "1")
    assert found.solution.problem.subject == topic


ROUTES = [
    # The last step is the most special: the module's name before it does not decide.
    ("竞赛->知识点->排列组合与概率->二项式定理及其应用", "二项式定理"),
    ("竞赛->知识点->排列组合与概率->概率初步", "简单事件的概率"),
    ("竞赛->知识点->复数与平面向量->复数的应用", "复数"),
    ("课内体系->知识点->三角形->三角形及多边形->与三角形有关的线段->三角形的三边关系", "三角形与全等三角形"),
    ("课内体系->知识点->式->分式->分式的运算->分式加减、乘除、乘方混合运算", "分式"),
    ("课内体系->能力->运算能力", None),
]


@pytest.mark.parametrize(("route", "topic"), ROUTES)
def test_a_route_of_knowledge_points_has_its_topic_by_its_end(route: str, topic: str | None) -> None:
    assert topic_by_routes([route]) == topic


def test_a_question_that_no_rule_knows_is_unknown_and_its_choices_decide_nothing() -> None:
    assert topic_of("请看图，选出正确的一项．") == UNKNOWN
    assert topic_of("下列说法正确的是\n(A) 椭圆\n(B) 复数") == UNKNOWN
    assert topic_of("计算：$3\\times 4+5=$") == "四则混合运算与运算律"
    assert topic_of("已知$x-y=2$，则$x^2+y^2$的值是") == UNKNOWN


def test_every_rule_names_a_subtopic() -> None:
    rules = tomllib.loads(RULES_FILE.read_text(encoding="utf-8"))
    assert {topic for listed in rules.values() for _, topic in listed} <= set(topics().values())
