// Why is this part NG?
import { useEffect, useState } from "preact/hooks";
import { get, type Happening, listen } from "./api";
import { moment, number, useFresh } from "./show";
import { t } from "./words";

const VERDICTS = ["all", "ng", "recheck", "ok"] as const;

export function Inspections({ failed }: { failed: (e: unknown) => void }) {
  const [verdict, setVerdict] = useState<(typeof VERDICTS)[number]>("all");
  const [events] = useFresh<Happening[]>(() => get("/api/events?kind=inspection&limit=200"), (m) => m.kind === "events", [], failed);
  if (!events) return <p class="quiet">…</p>;
  const count = (v: string) => events.filter((e) => v === "all" || e.state === v).length;
  const shown = events.filter((e) => verdict === "all" || e.state === verdict).slice(0, 60);
  return (
    <>
      <header class="bar"><h1>{t("inspections")}</h1>
        <div class="choices" role="group">{VERDICTS.map((v) => <button key={v} aria-pressed={v === verdict} onClick={() => setVerdict(v)}>{t(v)} {count(v)}</button>)}</div>
      </header>
      {shown.length === 0 ? <p class="calm">{t("noInspections")}</p> : null}
      <ul class="inspections">{shown.map((e) => <Inspection key={`${e.device}${e.epoch}${e.seq}`} event={e} />)}</ul>
    </>
  );
}

function Inspection({ event: e }: { event: Happening }) {
  return (
    <li class={`inspection ${e.state}`}>
      <Picture digest={e.refs[0]} boxes={e.data.boxes ?? []} part={e.data.part} />
      <div class="verdict"><strong>{e.state === "ok" ? "✓" : e.state === "ng" ? "✕" : "?"} {t(e.state as "ok" | "ng" | "recheck")}</strong>
        <span>{e.data.part !== null && e.data.part !== undefined ? `${t("part")} ${e.data.part}` : ""}</span></div>
      <p class="why">{e.text || e.data.label}</p>
      <p class="quiet">{e.key} · {t("score")} {number(e.data.score ?? null)} · {moment(e.ts / 1e6)}</p>
    </li>
  );
}

function Picture({ digest, boxes, part }: { digest?: string; boxes: any[]; part: number }) {
  const [turn, setTurn] = useState(0);
  const [there, setThere] = useState(false);
  const [size, setSize] = useState<[number, number] | null>(null);
  useEffect(() => listen((m) => { if (m.kind === "picture" && m.digest === digest) setTurn((n) => n + 1); }), [digest]);
  if (!digest) return <div class="picture none" aria-hidden="true" />;
  return (
    <div class={`picture ${there ? "" : "none"}`}>
      <img src={`/api/pictures/${digest}${turn ? `?${turn}` : ""}`} alt={`${t("part")} ${part}`} hidden={!there}
        onLoad={(e) => { setThere(true); setSize([e.currentTarget.naturalWidth, e.currentTarget.naturalHeight]); }}
        onError={() => { setThere(false); if (turn < 5) window.setTimeout(() => setTurn((n) => n + 1), 3000); }} />
      {there ? null : <span class="quiet">{t("pictureComing")}</span>}
      {there && size ? (
        <svg viewBox={`0 0 ${size[0]} ${size[1]}`} aria-hidden="true">
          {boxes.map((b, i) => <rect key={i} x={b[0]} y={b[1]} width={b[2] - b[0]} height={b[3] - b[1]} vector-effect="non-scaling-stroke" />)}
        </svg>
      ) : null}
    </div>
  );
}
