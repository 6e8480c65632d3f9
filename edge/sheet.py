"""The commissioning sheet: one HTML file that people print and sign, with the data inside and a seal over both."""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import LinesideError

OPEN, CLOSE = '<script type="application/json" id="lineside-sheet">', "</script>"
LARGEST = 64_000_000  # bytes of a sheet that is verified
LANGUAGES = ("en", "zh")
LONG = 16  # characters of a value; what is longer is a text, and breaks into lines
_WORDS = {
    "title": ("Commissioning sheet", "调试验收单"),
    "device": ("Device", "设备"),
    "site": ("Site file", "站点文件"),
    "read": ("Read", "读取时间"),
    "through": ("Read through", "读取方式"),
    "daemon": ("the running daemon", "运行中的守护进程"),
    "devices": ("the devices themselves", "直接读取设备"),
    "version": ("Software", "软件版本"),
    "by": ("Commissioned by", "调试人"),
    "tag": ("Tag", "测点"),
    "value": ("Value", "数值"),
    "unit": ("Unit", "单位"),
    "quality": ("Quality", "质量"),
    "time": ("Time (UTC)", "时间 (UTC)"),
    "expected": ("Expected", "期望值"),
    "tolerance": ("Tolerance", "允差"),
    "verdict": ("Result", "结论"),
    "ok": ("as expected", "符合"),
    "off": ("differs", "不符"),
    "bad": ("no good value", "无有效值"),
    "good": ("good", "有效"),
    "tags": ("Tags read", "读取测点"),
    "compared": ("Compared", "已比对"),
    "faults": ("To be mended", "待处理"),
    "passed": (
        "Every tag has a good value, and every compared one is as expected.",
        "全部测点有效，已比对测点均符合期望。",
    ),
    "failed": ("Not every tag is as it should be.", "有测点不符合要求。"),
    "nothing": ("Nothing was compared: no expected values were given.", "未给出期望值，未做比对。"),
    "sealed": (
        "Sealed with the identity of this device. A changed number or letter is found by: lineside report --verify FILE",
        "已用本设备的身份封存。任何改动可用以下命令发现：lineside report --verify FILE",
    ),
    "unsealed": (
        "Not sealed: {why}. Nobody can tell whether this sheet was changed.",
        "未封存：{why}。无法判断本单是否被改动。",
    ),
    "signed": ("Commissioned (name, date, signature)", "调试人（姓名、日期、签字）"),
    "accepted": ("Accepted (name, date, signature)", "验收人（姓名、日期、签字）"),
}
_WHY = {
    "this device is not enrolled with a plane": "本设备未在控制平面注册",
    "this user may not read the device's identity": "当前用户无权读取本设备的身份文件",
    "this installation has nothing that seals": "本安装不含封存功能",
}
_STYLE = """
:root{--ink:#16191d;--soft:#5b6570;--line:#cfd5db;--bad:#b3261e;--good:#1b6e3a}
*{box-sizing:border-box}
body{font:13px/1.45 system-ui,"Noto Sans CJK SC","Microsoft YaHei",sans-serif;color:var(--ink);background:#fff;margin:0 auto;
max-width:210mm;padding:12mm}
h1{font-size:22px;margin:0 0 2mm}
dl{display:grid;grid-template-columns:max-content 1fr;gap:1mm 6mm;margin:4mm 0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.said{font-weight:600;padding:2mm 3mm;border-left:3px solid var(--good);margin:4mm 0}
.said.bad{border-color:var(--bad)}
table{border-collapse:collapse;width:100%;font-size:12px}
th,td{text-align:left;padding:1.2mm 2mm;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600;white-space:nowrap;border-bottom-color:var(--ink)}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}th.n{text-align:right}
td.words{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:30mm}
td.tag{min-width:52mm;overflow-wrap:anywhere}td.time,td.verdict{white-space:nowrap;font-variant-numeric:tabular-nums}
tr.bad td{background:#fbeceb}tr.bad td.verdict{color:var(--bad);font-weight:600}tr.ok td.verdict{color:var(--good)}
.seal{color:var(--soft);font-size:11px;margin:6mm 0}.seal.none{color:var(--bad)}
.sign{display:grid;grid-template-columns:1fr 1fr;gap:12mm;margin-top:16mm;break-inside:avoid}
.sign div{border-top:1px solid var(--ink);padding-top:1.5mm;color:var(--soft)}
@page{size:A4;margin:14mm;@bottom-right{content:counter(page) " / " counter(pages);font-size:10px;color:#5b6570}}
@media print{body{padding:0;max-width:none}table{font-size:10.5px}th,td{padding:.8mm 1.5mm}
thead{display:table-header-group}tr{break-inside:avoid}
tr.bad td,.said{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""


def canonical(record: Mapping[str, Any]) -> bytes:
    """The one spelling of a record that is sealed: sorted keys, no spaces, UTF-8."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def draw(record: Mapping[str, Any], language: str, unsealed: str) -> tuple[str, str]:
    """The page before and after the place of its data. `unsealed` says why there is no seal, empty where there is one."""
    at = LANGUAGES.index(language)
    word = {name: both[at] for name, both in _WORDS.items()}
    e = html.escape
    summary = record["summary"]
    facts = [
        ("device", record["device"]),
        ("site", f"{record['site']['file']}  (SHA-256 {record['site']['sha256'][:16]}…)"),
        ("read", f"{record['started']} … {record['ended']}"),
        ("through", word[record["through"]]),
        ("version", f"lineside {record['lineside']}, Python {record['python']}, {record['machine']}"),
        *([("by", record["by"])] if record["by"] else []),
        ("tags", f"{summary['tags']}; {word['good']}: {summary['good']}"),
        ("compared", f"{summary['compared']}; {word['ok']}: {summary['ok']}"),
        ("faults", str(summary["faults"])),
    ]
    said = "failed" if summary["faults"] else "passed" if summary["compared"] else "nothing"
    why = _WHY.get(unsealed, unsealed) if language == "zh" else unsealed
    seal = word["unsealed"].format(why=e(why)) if unsealed else word["sealed"]
    head = "".join(
        f"<th{' class=n' if name in ('value', 'expected', 'tolerance') else ''}>{word[name]}</th>"
        for name in ("tag", "value", "unit", "quality", "time", "expected", "tolerance", "verdict")
    )
    name = "".join(c for c in f"{record['device']}  {record['ended']}" if c.isalnum() or c in "._-: ")
    foot = f'@page{{@bottom-left{{content:"{name}";font-size:10px;color:#5b6570}}}}'
    before = (
        f'<!doctype html>\n<html lang="{("en", "zh-CN")[at]}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{word['title']}: {e(record['device'])}</title><style>{_STYLE}{foot}</style></head><body>\n"
        f"<h1>{word['title']}</h1>\n<dl>{''.join(f'<dt>{word[n]}</dt><dd>{e(v)}</dd>' for n, v in facts)}</dl>\n"
        f'<p class="said{" bad" if said == "failed" else ""}">{word[said]}</p>\n'
        f"<table><thead><tr>{head}</tr></thead><tbody>\n"
        + "\n".join(_row(row, word, record["started"][:10]) for row in record["rows"])
        + f'\n</tbody></table>\n<p class="seal{" none" if unsealed else ""}">{seal}</p>\n'
        f'<div class="sign"><div>{word["signed"]}</div><div>{word["accepted"]}</div></div>\n'
    )
    return before, "\n</body></html>\n"


def _row(row: Mapping[str, Any], word: Mapping[str, str], day: str) -> str:
    """One line of the table; the date of a value only where it is not that of the sheet."""
    e, verdict = html.escape, row["verdict"]
    kind = {"ok": "ok", "off": "bad", "bad": "bad"}.get(verdict, "")
    shown, wanted = (
        f'<td class="n{" words" * (len(row[key]) > LONG)}">{e(row[key])}</td>' for key in ("shown", "expected")
    )
    name, time = e(row["tag"]).replace(".", ".<wbr>").replace("_", "_<wbr>"), row["time"].removeprefix(f"{day} ")
    return (
        f'<tr class="{kind}"><td class="tag">{name}</td>{shown}<td>{e(row["unit"])}</td>'
        f'<td>{e(row["quality"])}</td><td class="time">{e(time)}</td>{wanted}'
        f'<td class="n">{e(row["tolerance"])}</td><td class="verdict">{word.get(verdict, "")}</td></tr>'
    )


def digest(before: str, after: str) -> str:
    """Of what people see."""
    return hashlib.sha256((before + "\0" + after).encode()).hexdigest()


def put_together(before: str, after: str, record: Mapping[str, Any], seal: Mapping[str, str] | None) -> str:
    body = canonical({"record": record, "seal": seal}).decode().replace("<", "\\u003c")
    return before + OPEN + body + CLOSE + after


def take_apart(text: str) -> tuple[dict[str, Any], dict[str, str] | None, str]:
    """(record, seal, digest of what people see) of a sheet. Raises LinesideError where it is none, or cut off."""
    pieces = re.split(f"{re.escape(OPEN)}(.*?){re.escape(CLOSE)}", text, flags=re.S)
    if len(pieces) != 3 or not pieces[2].rstrip().endswith("</html>"):
        raise LinesideError(
            "this is no whole sheet of `lineside report`", hint="was it cut off, or saved anew by an editor?"
        )
    try:
        inside = json.loads(pieces[1])
        record, seal = inside["record"], inside["seal"]
        well = isinstance(record["device"], str) and isinstance(record["page"], str)
        well &= seal is None or all(isinstance(seal[key], str) for key in ("kind", "proof"))
        canonical(record)
    except (ValueError, KeyError, TypeError, RecursionError):
        well = False
    if not well:
        raise LinesideError("the data inside this sheet is damaged", hint="ask for the file as it was written")
    return record, seal, digest(pieces[0], pieces[2])


def counted(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The summary of a sheet's rows."""
    return {
        "tags": len(rows),
        "good": sum(row["good"] for row in rows),
        "compared": sum(bool(row["expected"]) for row in rows),
        "ok": sum(row["verdict"] == "ok" for row in rows),
        "faults": sum(row["verdict"] in ("off", "bad") for row in rows),
    }
