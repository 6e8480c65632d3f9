// What people ask of a device, and what it answered: it looks, and changes nothing.
import { useState } from "preact/hooks";
import { failed, get, type Happening, type Live, send, type Status, type Tag } from "./api";
import { Picture } from "./part";
import { sentence } from "./sentences";
import { bytes, clock, moment, number, Quality, span, useFresh, useNow } from "./show";
import { asking, joined, known, t } from "./words";

interface Answer {
  values?: { tag: string; value: number | string | null; unit: string; quality: string; age: number | null }[];
  findings?: { state: string; what: string; how: string; todo: string }[]; passed?: boolean;
  events?: { ts: number; kind: string; key: string; state: string; text: string }[]; log?: string[];
  bundle?: string; bytes?: number; files?: string[]; tags?: string[]; every?: number; seconds?: number; picture?: string; camera?: string;
}
interface Asked {
  number: number; verb: string; by: string; created: number; age: number; since: number; expires: number; asked: { tags?: string[]; camera?: string; seconds?: number }; state: string; text: string;
  answer: unknown; pictures: string[]; event: [string, number] | null;
}
/** A device says it: what is not as it should be is left out, so that the page stands. */
function sound(said: unknown): Answer | null {
  if (typeof said !== "object" || said === null || Array.isArray(said)) return null;
  const a = said as Record<string, unknown>, word = (x: unknown) => (typeof x === "string" || typeof x === "number" ? String(x) : "");
  const rows = (x: unknown) => (Array.isArray(x) ? x.filter((one) => typeof one === "object" && one !== null) : undefined);
  const words = (x: unknown) => (Array.isArray(x) ? x.map(word) : undefined), digest = (x: unknown) => (/^[0-9a-f]{64}$/.test(word(x)) ? word(x) : undefined);
  const count = (x: unknown) => (typeof x === "number" ? x : undefined);
  return {
    values: rows(a.values)?.map((v) => ({ tag: word(v.tag), value: typeof v.value === "number" ? v.value : word(v.value) || null, unit: word(v.unit), quality: word(v.quality), age: count(v.age) ?? null })),
    findings: rows(a.findings)?.map((f) => ({ state: word(f.state), what: word(f.what), how: word(f.how), todo: word(f.todo) })), passed: a.passed === true,
    events: rows(a.events)?.map((e) => ({ ts: count(e.ts) ?? 0, kind: word(e.kind), key: word(e.key), state: word(e.state), text: word(e.text) })), log: words(a.log),
    bundle: digest(a.bundle), bytes: count(a.bytes), files: words(a.files), tags: words(a.tags), every: count(a.every), seconds: count(a.seconds), picture: digest(a.picture), camera: word(a.camera),
  };
}
const WAITS = new Set(["queued", "accepted"]), BAD = new Set(["failed", "refused", "expired"]);
const SHOWN = 12, LINES = 50, LIVE_SECONDS = 300, LIVE_EVERY = 0.2;

/** `tag` is the one whose chart is shown; `may`: whether who works here may ask. */
export function Questions({ device, tag, status, silent, may }: { device: string; tag?: Tag; status?: Status; silent: boolean; may: boolean }) {
  const path = `/api/devices/${encodeURIComponent(device)}/commands`;
  const [list, again] = useFresh<Asked[]>(() => get<Asked[]>(`${path}?limit=${SHOWN}`).then((page) => page.map((one) => ({ ...one, since: performance.now() - one.age * 1000 }))), (m: Live) => m.kind === "events" && (m.device === device || m.device === "@plane"), [path]);
  const [fault, setFault] = useState(""), [mine, setMine] = useState(-1);
  if (!list || (!may && !list.length)) return null;
  const ask = (verb: string, about: object = {}) => {
    setFault("");
    send<{ number: number }>("POST", path, { verb, ...about }).then((made) => { setMine(made.number); again(); }, (e) => { setFault(e.message); failed(e); });
  };
  const cameras = Object.entries(status?.parts ?? {}).filter(([, part]) => "frames" in (part.counts ?? {})).map(([name]) => name);
  const open = mine >= 0 ? mine : list[0]?.number;
  return (
    <section id="asked" class="panel" aria-label={t("askDevice")}>
      <header class="bar"><h2>{t("askDevice")}</h2><span class="quiet">{t("asksOnly")}</span></header>
      {may ? (
        <div class="choices">
          <button onClick={() => ask("selftest")}>{t("selftest")}</button>
          <button onClick={() => ask("tail", { n: LINES })}>{t("newestLines")}</button>
          <button onClick={() => ask("support")}>{t("supportBundle")}</button>
          {tag ? <button onClick={() => ask("read", { tags: [tag.name] })}>{t("readTag")} {tag.name}</button> : null}
          {tag ? <button onClick={() => ask("live", { tags: [tag.name], every: LIVE_EVERY, seconds: LIVE_SECONDS })}>{t("liveTag")} {tag.name}</button> : null}
          {cameras.map((camera) => <button key={camera} onClick={() => ask("capture", { camera })}>{t("capture")} {camera}</button>)}
        </div>
      ) : null}
      {may && silent ? <p class="silent">{t("askSilent")}</p> : null}
      {fault ? <p class="bad" role="alert">{sentence(fault)}</p> : null}
      <ul class="asked">{list.map((one) => <One key={one.number} device={device} one={one} open={one.number === open} ask={may ? ask : undefined} />)}</ul>
    </section>
  );
}

function One({ device, one, open, ask }: { device: string; one: Asked; open: boolean; ask?: (verb: string, about: object) => void }) {
  const answer = sound(one.answer), end = ask && (() => ask("live", { tags: answer?.tags ?? [], seconds: 0 }));
  const about = joined([...(one.asked.tags ?? []), one.asked.camera ?? ""]);
  const bad = BAD.has(one.state), empty = !answer || (one.verb === "live" && !answer.seconds);
  const head = (
    <>
      <span class={bad ? "bad" : WAITS.has(one.state) ? "quiet" : "good"}>{bad ? "▲" : WAITS.has(one.state) ? "…" : "✓"} {asking(one.state)}</span>
      <span>{one.verb === "live" && one.asked.seconds === 0 ? t("endLive") : asking(one.verb)} {about}</span><span class="quiet">{joined([one.by, moment(one.created * 1000)])}</span>
      {one.text ? <span class={bad ? "bad" : "quiet"}>{sentence(one.text)}</span> : null}
    </>
  );
  if (empty) return <li data-asked={one.verb}><div class="head">{head}</div></li>;
  return <li data-asked={one.verb}><details open={open}><summary class="head">{head}</summary><Said device={device} one={one} answer={answer} end={end} /></details></li>;
}

function Said({ device, one, answer: a, end }: { device: string; one: Asked; answer: Answer; end?: () => void }) {
  const [epoch, seq] = one.event ?? ["", 0];
  const shown: Happening = { device, epoch, seq, ts: one.created, kind: "command", key: one.verb, state: one.state, severity: "", text: "", data: {}, refs: one.pictures };
  const at = new URLSearchParams({ device, epoch, seq: String(seq) });
  return (
    <div class="said">
      {a.values ? (
        <table><tbody>{a.values.map((v) => (
          <tr key={v.tag}><td>{v.tag}</td><td class="n">{typeof v.value === "number" ? number(v.value) : v.value ?? "–"} {v.unit}</td><td><Quality name={v.quality} /></td><td class="quiet">{v.age === null ? "–" : `${t("ageOf")} ${span(v.age * 1000)}`}</td></tr>
        ))}</tbody></table>
      ) : null}
      {a.findings ? (
        <>
          <p class={a.passed ? "good" : "bad"}>{a.passed ? `✓ ${t("selfPassed")}` : `▲ ${t("selfFailed")}`}</p>
          <table class="states"><tbody>{[...a.findings].sort((x, y) => Number(y.state === "bad") - Number(x.state === "bad")).map((f) => (
            <tr key={f.what} class={f.state === "bad" ? "doubt" : ""}><td>{f.state === "bad" ? "▲" : "●"} {f.what}</td><td class="how">{f.how}{f.todo ? <div class="quiet">→ {f.todo}</div> : null}</td></tr>
          ))}</tbody></table>
        </>
      ) : null}
      {a.log || a.events ? <pre tabIndex={0}>{[...(a.events ?? []).map((e) => `${clock(e.ts / 1e6)} ${known(e.kind)} ${e.key} ${known(e.state)} ${e.text}`), ...(a.log ?? [])].join("\n")}</pre> : null}
      {a.picture ? <Picture event={shown} digest={a.picture} crowded={false} /> : null}
      {a.bundle ? <Bundle path={`/api/pictures/${a.bundle}?${at}`} name={`${device}-${one.number}.tar.gz`} size={a.bytes ?? 0} files={a.files ?? []} /> : null}
      {one.verb === "live" ? <Until until={one.since + (a.seconds ?? 0) * 1000} end={end} /> : null}
    </div>
  );
}

/** It follows after its answer, under the budget of the line. */
function Bundle({ path, name, size, files }: { path: string; name: string; size: number; files: string[] }) {
  const [late, setLate] = useState(false);
  const fetchIt = async () => {
    const answer = await fetch(path).catch(() => null);
    setLate(!answer?.ok);
    if (!answer?.ok) return;
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(await answer.blob()), download: name });
    link.click();
    window.setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  };
  return <p><button onClick={fetchIt}>{t("download")} {bytes(size)}</button> <span class="quiet">{files.join(", ")}</span>{late ? <span class="silent" role="status"> {t("bundleLate")}</span> : null}</p>;
}

function Until({ until, end }: { until: number; end?: () => void }) {
  const left = until - useNow();
  return left > 0 ? <p>{t("liveFor")} {span(left)} {end ? <button onClick={end}>{t("endLive")}</button> : null}</p> : <p class="quiet">{t("liveOver")}</p>;
}
