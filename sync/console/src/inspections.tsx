// Why is this part NG?
import { useEffect, useRef, useState } from "preact/hooks";
import { get, type Happening } from "./api";
import { boxes, codeOf, isCalled, Picture, pictureOf, Words } from "./part";
import { moment, number, useFresh } from "./show";
import { label, t } from "./words";

const VERDICTS = ["all", "ng", "recheck", "ok"] as const;
const CROWDED = 6; // boxes; beyond it a small picture shows them without words
const worst = (e: Happening): string | undefined => { const bad = boxes(e).find((b) => b[7] === e.state && pictureOf(e, b)); return bad ? pictureOf(e, bad) : e.refs[0]; };

export function Inspections() {
  const [verdict, setVerdict] = useState<(typeof VERDICTS)[number]>("all");
  const [find, setFind] = useState("");
  const [larger, setLarger] = useState<Happening | null>(null);
  const [events] = useFresh<Happening[]>(() => get("/api/events?kind=inspection&limit=200"), (m) => m.kind === "events", [], 1000);
  if (!events) return <p class="quiet">…</p>;
  const named = events.filter((e) => isCalled(e, find.trim()));
  const count = (v: string) => named.filter((e) => v === "all" || e.state === v).length;
  const shown = named.filter((e) => verdict === "all" || e.state === verdict).slice(0, 60);
  return (
    <>
      <header class="bar"><h1>{t("inspections")}</h1>
        <div class="choices" role="group" aria-label={t("inspections")}>{VERDICTS.map((v) => <button key={v} aria-pressed={v === verdict} onClick={() => setVerdict(v)}>{t(v)} {count(v)}</button>)}</div>
        <input id="filter" type="search" placeholder={t("findPart")} aria-label={t("findPart")} value={find} onInput={(e) => setFind(e.currentTarget.value)} />
      </header>
      {shown.length === 0 ? <p class="calm">{t(events.length ? "noneOfThese" : "noInspections")}</p> : null}
      <ul class="inspections">{shown.map((e) => (
        <li key={`${e.device}${e.epoch}${e.seq}`} class={`inspection ${e.state}`}>
          <button class="plain" aria-label={`${t("larger")}: ${t("part")} ${e.data.part ?? ""}`} aria-haspopup="dialog" onClick={() => setLarger(e)}>
            <Picture event={e} digest={worst(e)} crowded={boxes(e).length > CROWDED} />
          </button>
          <Words event={e} />
          <p class="quiet">{e.key} · {moment(e.ts / 1e6)}</p>
        </li>
      ))}</ul>
      {larger ? <Larger event={larger} close={() => setLarger(null)} /> : null}
    </>
  );
}

function Larger({ event: e, close }: { event: Happening; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => { dialog.current?.showModal(); }, []);
  const facts: [string, string][] = [
    [t("score"), number(e.data.score ?? null)], [t("label"), label(e.data.label ?? "") || "–"], [t("camera"), e.data.source ?? "–"],
    [t("took"), `${number(Math.round(e.data.took_ms ?? 0))} ms`], [t("time"), moment(e.ts / 1e6)], [t("device"), `${e.device} · ${e.key}`],
    ...(codeOf(e) === undefined ? [] : [[t("code"), codeOf(e) || t("noCode")] as [string, string]]),
  ];
  return (
    <dialog ref={dialog} class={`inspection ${e.state}`} onClose={close} onClick={(c) => { if (c.target === c.currentTarget) c.currentTarget.close(); }}>
      {e.refs.length > 1 ? e.refs.map((digest) => <Picture key={digest} event={e} digest={digest} crowded={false} />) : <Picture event={e} digest={e.refs[0]} crowded={false} />}
      <Words event={e} />
      <dl class="facts">{facts.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>
      <form method="dialog"><button>{t("close")}</button></form>
    </dialog>
  );
}
