// Records that the plane could not read: they are kept here, and their devices go on.
import { useState } from "preact/hooks";
import { copyOf, discard, failed, get, type Refused as Row } from "./api";
import { bytes, moment, number, useFresh } from "./show";
import { known, t } from "./words";

const MOST = 200; // rows

export function Refused() {
  const [rows, again] = useFresh<Row[]>(() => get("/api/refused"), (m) => m.kind === "events", []);
  const [filter, setFilter] = useState("");
  const [open, setOpen] = useState("");
  const [fault, setFault] = useState("");
  if (!rows) return <p class="quiet">…</p>;
  const wanted = filter.toLowerCase();
  const listed = rows.filter((r) => `${r.device} ${r.stream} ${r.why}`.toLowerCase().includes(wanted));
  const send = (row: Row, reason: string) => {
    setFault("");
    discard(row, reason).then(() => { setOpen(""); again(); }, (e) => { setFault(`${row.device} ${row.stream} ${row.seq}: ${t("notDone")}`); failed(e); });
  };
  return (
    <>
      <header class="bar">
        <h1>{t("refused")}</h1><span class="grow" />
        {rows.length ? <input id="filter" type="search" placeholder={t("filterRecords")} aria-label={t("filterRecords")} value={filter} onInput={(e) => setFilter(e.currentTarget.value)} /> : null}
      </header>
      {fault ? <div class="banner" role="alert">{fault}</div> : null}
      {rows.length ? <p class="quiet">{t("refusedSub")}</p> : <p class="calm">✓ {t("noneRefused")}</p>}
      {rows.length && !listed.length ? <p class="quiet">{t("noneOfThem")}</p> : null}
      <ul class="refused">
        {listed.slice(0, MOST).map((r) => <Record key={name(r)} row={r} open={open === name(r)} toggle={() => setOpen(open === name(r) ? "" : name(r))} send={(reason) => send(r, reason)} />)}
      </ul>
      {listed.length > MOST ? <p class="quiet">{number(listed.length - MOST)} {t("moreRecords")}</p> : null}
    </>
  );
}

const name = (r: Row) => `${r.device} ${r.epoch} ${r.stream} ${r.seq}`;
/** `samples:plc` is what the source plc measured. */
const what = (stream: string) => (stream.startsWith("samples:") ? stream.slice(8) : known(stream));

function Record({ row: r, open, toggle, send }: { row: Row; open: boolean; toggle: () => void; send: (reason: string) => void }) {
  const [reason, setReason] = useState("");
  return (
    <li data-refused={`${r.device} ${r.stream} ${r.seq}`}>
      <p><a href={`#/device/${encodeURIComponent(r.device)}`}>{r.device}</a> · {what(r.stream)} {number(r.seq)}
        <span class="quiet"> · {moment(r.arrived * 1000)} · {bytes(r.bytes)}{r.n > 1 ? ` · ${number(r.n)} ${t("samplesIn")}` : ""}</span></p>
      <p class="why">{r.why}</p>
      <div class="choices">
        <a class="button needs-records" href={copyOf(r)} download>{t("download")}</a>
        <button class="needs-records" aria-expanded={open} onClick={toggle}>{t(open ? "keepIt" : "discard")}</button>
      </div>
      {open ? (
        <form onSubmit={(e) => { e.preventDefault(); if (reason.trim()) send(reason); }}>
          <label>{t("discardWhy")} <input required maxLength={200} value={reason} onInput={(e) => setReason(e.currentTarget.value)} ref={(box) => box?.focus()} /></label>
          <button class="bad" disabled={!reason.trim()}>{t("discardNow")}</button>
        </form>
      ) : null}
    </li>
  );
}
