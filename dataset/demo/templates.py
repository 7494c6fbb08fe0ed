"""The demo's word problems: a story, the expression that solves it, and the range of each number in it.

A template's name is the subject of its problems. `{n}` is a person's name; the other letters are numbers. The numbers
are large enough that a model of two million parameters cannot multiply them by itself, which is what the demo shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dataset.types import Language

_DEFAULT_RANGE = (12, 99)


@dataclass(frozen=True, slots=True)
class Template:
    """A family of problems. `ranges` holds for the letters that do not take 12 to 99."""

    language: Language
    name: str
    question: str
    expression: str
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def range_of(self, letter: str) -> tuple[int, int]:
        return self.ranges.get(letter, _DEFAULT_RANGE)


NAMES: dict[Language, tuple[str, ...]] = {
    "en": ("Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry"),
    "zh": ("小明", "小红", "小华", "小丽", "小刚", "小芳", "小军", "小云"),
}

_SMALL = (2, 9)
_HUNDREDS = (100, 999)


def _en(name: str, question: str, expression: str, **ranges: tuple[int, int]) -> Template:
    return Template("en", name, question, expression, ranges)


def _zh(name: str, question: str, expression: str, **ranges: tuple[int, int]) -> Template:
    return Template("zh", name, question, expression, ranges)


TEMPLATES: tuple[Template, ...] = (
    _en("pencils", "{n} buys {a} boxes of {b} pencils. How many pencils does {n} buy?", "a*b"),
    _en("seats", "A train has {a} cars with {b} seats each. How many seats does it have?", "a*b", b=_HUNDREDS),
    _en("apples", "{n} picks {a} bags of {b} apples and {c} more apples. How many apples are there?", "a*b+c"),
    _en("pages",
        "{n} prints {a} books of {b} pages. {c} pages are blank. How many are not blank?", "a*b-c", b=_HUNDREDS),
    _en("hats",
        "{n} sells {a} red and {b} blue hats for {c} dollars each. How many dollars?", "(a+b)*c",
        a=_HUNDREDS),
    _en("rows", "A hall has {a} rows. {b} rows are closed. A row has {c} seats. How many are open?", "(a-b)*c"),
    _en("pens", "{n} buys {a} pens for {b} cents each and {c} cups for {d} cents each. How many cents?", "a*b+c*d"),
    _en("profit", "{n} sells {a} lamps for {b} dollars each and pays {c} workers {d} dollars each. "
             "How many dollars are left?", "a*b-c*d", a=_HUNDREDS),
    _en("nuts", "A box holds {a} bags of {b} nuts. How many nuts are in {c} boxes?", "a*b*c", c=_SMALL),
    _en("beans", "{a} sacks of {b} beans are shared by {c} farms. How many beans per farm?", "a*b//c", c=_SMALL),
    _en("water",
        "A tank holds {a} liters. {n} adds {b} buckets of {c} liters. How many liters now?", "a+b*c", a=_HUNDREDS),
    _en("stamps", "{n} has {a} books of {b} stamps, loses {c} and sells {d}. How many stamps are left?", "a*b-c-d"),
    _en("bricks", "A wall has {a} layers of {b} bricks. {n} builds {c} walls and keeps {d} bricks. "
             "How many bricks?", "a*b*c+d", c=_SMALL),
    _en("eggs", "{a} white and {b} brown hens lay {c} eggs each. {d} eggs break. How many are whole?", "(a+b)*c-d"),
    _zh("铅笔", "{n}买了{a}盒铅笔，每盒{b}支。一共有多少支铅笔？", "a*b"),
    _zh("座位", "一列火车有{a}节车厢，每节{b}个座位。一共有多少个座位？", "a*b", b=_HUNDREDS),
    _zh("苹果", "{n}摘了{a}筐苹果，每筐{b}个，又摘了{c}个。一共有多少个苹果？", "a*b+c"),
    _zh("书页", "{n}印了{a}本书，每本{b}页，其中{c}页是空白。不是空白的有多少页？", "a*b-c", b=_HUNDREDS),
    _zh("帽子", "{n}卖出{a}顶红帽和{b}顶蓝帽，每顶{c}元。一共卖了多少元？", "(a+b)*c", a=_HUNDREDS),
    _zh("剧院", "剧院有{a}排座位，关闭了{b}排，每排{c}个座位。还有多少个座位？", "(a-b)*c"),
    _zh("购物", "{n}买了{a}支笔，每支{b}分，又买了{c}个杯子，每个{d}分。一共花了多少分？", "a*b+c*d"),
    _zh("工资", "{n}卖出{a}盏灯，每盏{b}元，付给{c}个工人每人{d}元。还剩多少元？", "a*b-c*d",
        a=_HUNDREDS),
    _zh("坚果", "每箱有{a}袋坚果，每袋{b}颗。{c}箱一共有多少颗？", "a*b*c", c=_SMALL),
    _zh("豆子", "{a}袋豆子，每袋{b}颗，平均分给{c}个农场。每个农场多少颗？", "a*b//c", c=_SMALL),
    _zh("水池", "水池里有{a}升水，{n}又加了{b}桶，每桶{c}升。现在有多少升水？", "a+b*c", a=_HUNDREDS),
    _zh("邮票", "{n}有{a}本邮票册，每本{b}张，丢了{c}张，送出{d}张。还剩多少张？", "a*b-c-d"),
    _zh("砖块", "一面墙有{a}层，每层{b}块砖。{n}砌了{c}面墙，还剩{d}块。一共有多少块砖？", "a*b*c+d", c=_SMALL),
    _zh("鸡蛋", "{a}只白鸡和{b}只黄鸡，每只下{c}个蛋，打破{d}个。还剩多少个蛋？", "(a+b)*c-d"),
)  # fmt: skip
