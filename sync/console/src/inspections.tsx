// Why is this part NG?
import { useEffect, useRef, useState } from "preact/hooks";
import { get, type Happening, listen } from "./api";
import { moment, number, useFresh } from "./show";
import { known, language, t } from "./words";

const VERDICTS = ["all", "ng", "recheck", "ok"] as const;
const CROWDED = 6; // boxes; beyond it a small picture shows them without words
type Box = [number, number, number, number, string, number, string?, string?]; // ..., of which view, what it makes the part
const boxes = (e: Happening): Box[] => (Array.isArray(e.data.boxes) ? e.data.boxes.filter((b: unknown): b is Box => Array.isArray(b)) : []);
/** The picture that a box lies in: of a part with several views each has its own. */
const pictureOf = (e: Happening, b: Box): string | undefined => (b[6] === undefined ? e.refs[0] : e.data.pictures?.[b[6]]?.[3]);
const worst = (e: Happening): string | undefined => { const bad = boxes(e).find((b) => b[7] === e.state && pictureOf(e, b)); return bad ? pictureOf(e, bad) : e.refs[0]; };

export function Inspections() {
  const [verdict, setVerdict] = useState<(typeof VERDICTS)[number]>("all");
  const [larger, setLarger] = useState<Happening | null>(null);
  const [events] = useFresh<Happening[]>(() => get("/api/events?kind=inspection&limit=200"), (m) => m.kind === "events", []);
  if (!events) return <p class="quiet">…</p>;
  const count = (v: string) => events.filter((e) => v === "all" || e.state === v).length;
  const shown = events.filter((e) => verdict === "all" || e.state === verdict).slice(0, 60);
  return (
    <>
      <header class="bar"><h1>{t("inspections")}</h1>
        <div class="choices" role="group" aria-label={t("inspections")}>{VERDICTS.map((v) => <button key={v} aria-pressed={v === verdict} onClick={() => setVerdict(v)}>{t(v)} {count(v)}</button>)}</div>
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

function Words({ event: e }: { event: Happening }) {
  return (
    <>
      <div class="verdict"><strong>{e.state === "ok" ? "✓" : e.state === "ng" ? "✕" : "?"} {(VERDICTS as readonly string[]).includes(e.state) ? t(e.state as (typeof VERDICTS)[number]) : known(e.state)}</strong>
        <span>{e.data.part === null || e.data.part === undefined ? "" : `${t("part")} ${e.data.part}`}</span></div>
      <p class="why">{why(e)}</p>
    </>
  );
}

/** The device's own words; in Chinese what can be said from its data. */
function why(e: Happening): string {
  if (e.state === "ok") return e.text || t("sure");
  if (language === "zh" && e.data.label) return `${known(e.data.label)} · ${t("score")} ${number(e.data.score ?? null)}`;
  return e.text || known(e.data.label ?? "");
}

function Larger({ event: e, close }: { event: Happening; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => { dialog.current?.showModal(); }, []);
  const facts: [string, string][] = [
    [t("score"), number(e.data.score ?? null)], [t("label"), known(e.data.label ?? "") || "–"], [t("camera"), e.data.source ?? "–"],
    [t("took"), `${number(Math.round(e.data.took_ms ?? 0))} ms`], [t("time"), moment(e.ts / 1e6)], [t("device"), `${e.device} · ${e.key}`],
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

function Picture({ event: e, digest, crowded }: { event: Happening; digest: string | undefined; crowded: boolean }) {
  const [turn, setTurn] = useState(0);
  const [size, setSize] = useState<[number, number] | null>(null);
  useEffect(() => {
    if (size) return;
    return listen((m) => { if (m.kind === "open" || (m.kind === "picture" && m.digest === digest)) setTurn((n) => n + 1); });
  }, [digest, size === null]);
  if (!digest) return <div class="picture"><span class="quiet">{t("noPicture")}</span></div>;
  return (
    <div class={`picture ${crowded ? "crowded" : ""}`}>
      <div class="frame" style={size ? { aspectRatio: `${size[0]} / ${size[1]}`, [size[0] * 3 > size[1] * 4 ? "width" : "height"]: "100%" } : {}}>
        <img src={`/api/pictures/${digest}${turn ? `?${turn}` : ""}`} alt={`${t("part")} ${e.data.part ?? ""}`} hidden={!size}
          onLoad={(l) => setSize([l.currentTarget.naturalWidth, l.currentTarget.naturalHeight])}
          onError={() => { if (turn < 5) window.setTimeout(() => setTurn((n) => n + 1), 3000); }} />
        {size ? boxes(e).filter((b) => pictureOf(e, b) === digest).map((b, i) => <Mark key={i} box={b} size={size} />) : null}
      </div>
      {size ? null : <span class="quiet">{t("pictureComing")}</span>}
    </div>
  );
}

/** A box on a picture with its label: above it where there is room, inside it otherwise. */
function Mark({ box: [x0, y0, x1, y1, label, score], size: [width, height] }: { box: Box; size: [number, number] }) {
  const part = (n: number, of: number) => `${(100 * n) / of}%`;
  const place = { left: part(x0, width), top: part(y0, height), width: part(x1 - x0, width), height: part(y1 - y0, height) };
  return (
    <span class={`mark ${y0 < 0.14 * height ? "inside" : ""} ${x0 > 0.55 * width ? "to-left" : ""}`} style={place}>
      <b>{known(label)} {score <= 1 ? `${Math.round(100 * score)} %` : number(score)}</b>
    </span>
  );
}
