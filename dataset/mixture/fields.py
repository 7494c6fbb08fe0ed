"""The field of mathematics of a training row: algebra, geometry, calculus and so on, for the card.

By the source's own subject where there is one (MATH's seven, the areas of `topics_zh.toml`, a data set's name), else by
keywords in the question, else "arithmetic": what is left of GSM8K and Ape210K are stories whose answer is computed. The
table is for a reader who asks what a mixture is made of; nothing is chosen by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dataset.topics import area_of

FIELDS = ("arithmetic", "algebra", "geometry", "probability and counting", "number theory", "calculus", "statistics")
_SUBJECTS: Mapping[str, str] = {
    "prealgebra": "algebra", "algebra": "algebra", "intermediate algebra": "algebra", "geometry": "geometry",
    "counting & probability": "probability and counting", "number theory": "number theory", "precalculus": "calculus",
    "college_math": "calculus", "probability": "probability and counting",
}  # fmt: skip
# Areas of topics_zh.toml; the topics that differ from their area stand in _TOPICS.
_AREAS: Mapping[str, str] = {
    "Numbers and operations": "arithmetic", "Word problems": "arithmetic",
    "Plane figures and solids in primary school": "geometry", "Algebra in middle school": "algebra",
    "Geometry in middle school": "geometry", "Statistics and probability": "probability and counting",
    "Mathematics in high school": "algebra", "Beyond the 76: mathematics of competitions": "arithmetic",
    "Beyond the 76: middle and high school": "algebra",
}  # fmt: skip
_OTHER_THAN_THEIR_AREA: Mapping[str, str] = {
    "number theory": "因数与倍数 质数与合数 整除与余数 不定方程 奇数与偶数 位值原理与进制",
    "probability and counting": "容斥原理 抽屉原理与最不利原则",
    "statistics": "数据的收集与统计图表 平均数、中位数、众数与方差 回归分析与独立性检验",
    "calculus": "导数及其应用 定积分",
    "geometry": "平面直角坐标系 直线与圆的方程 圆锥曲线 空间点、直线、平面的位置关系 空间向量与立体几何 "
    "平面向量 三角恒等变换与解三角形",
}
_TOPICS = {topic: field for field, names in _OTHER_THAN_THEIR_AREA.items() for topic in names.split()}
_KEYWORDS = tuple(
    (re.compile(pattern, re.IGNORECASE), field)
    for field, pattern in (
        ("calculus", r"\b(?:derivative|integral|integrate|differentiat\w+|(?<!speed )limit of)\b|\\int|\\lim"
                     r"|导数|(?<![面体容乘])积分|极限"),
        ("probability and counting", r"\bprobabilit|\bat random\b|\bhow many (?:different )?ways\b|permutation"
                                     r"|概率|多少种"),
        ("number theory", r"\bprime\b|\bdivisible\b|\bremainder\b(?! of (?:the|his|her|their|this|that|its)\b)"
                          r"|\b(?:greatest|least) common|\bdivisors?\b"
                          r"|质数|整除|余数|公因数|公倍数|约数"),
        ("geometry", r"\b(?:triangle|circle|radius|diameter|perimeter|rectang\w+|cylinder|sphere|polygon|angles?)\b"
                     r"|\b(?:volume|area) of\b|三角形|圆|长方|正方|梯形|平行四边形|面积|体积|周长|棱长"),
        ("statistics", r"\b(?:median|standard deviation|variance)\b|中位数|方差|统计图"),
        ("algebra", r"\bsolve for\b|\bequation\b|\bpolynomial\b|\\sqrt"
                    r"|(?<![mt])\^\{?\d|\bx\s*[+=]|\bx\s*-\s*\d|方程|函数"),
    )
)  # fmt: skip


def field_of(subject: str, question: str) -> str:
    """One of `FIELDS`: by `subject`, else by keywords in `question`, else "arithmetic"."""
    if (known := _SUBJECTS.get(subject.lower())) is not None:
        return known
    if (area := area_of(subject)) is not None:
        return _TOPICS.get(subject, _AREAS[area])
    return next((field for pattern, field in _KEYWORDS if pattern.search(question)), FIELDS[0])
