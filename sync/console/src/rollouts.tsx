// What goes to many devices, wave after wave: every rollout, and how to begin one.
import { useEffect, useState } from "preact/hooks";
import { devicesOf, failed, get, send } from "./api";
import { sentence } from "./sentences";
import { moment, number, useFocus, useFresh } from "./show";
import { may, placesOf } from "./signin";
import { joined, standing, t } from "./words";

export interface Summary {
  number: number; what: string; stage: string; state: string; since: number; reason: string; by: string; created: number; wave: number; waves: number;
  devices: Record<string, number>; hits: Record<string, number>;
}
const PAGE = 20;
export const BAD = new Set(["halted", "back"]); // of a rollout
/** What a bar shows of the states of devices, from left to right. */
const GROUPS = [["barGood", ["good"]], ["barAtWork", ["trying", "watched", "asked"]], ["barBad", ["failed", "stuck"]], ["barOut", ["over", "gone", "back", "returned"]], ["barWaits", ["waits"]]] as const;

/** How far devices have come. */
export function Bar({ states }: { states: Record<string, number> }) {
  const parts = GROUPS.map(([word, names]) => ({ word, n: names.reduce((sum, name) => sum + (states[name] ?? 0), 0) })).filter((part) => part.n);
  return parts.length === 0 ? null : (
    <>
      <span class="progress" aria-hidden="true">{parts.map((part) => <i key={part.word} class={part.word} style={{ flexGrow: part.n }} />)}</span>
      <small class="quiet legend">{parts.map((part) => <span key={part.word}><i class={part.word} aria-hidden="true" /> {number(part.n)} {t(part.word)}</span>)}</small>
    </>
  );
}

/** Who or what made it stand so. */
export const because = (reason: string): string => (reason.startsWith("by ") ? `${t("byWhom")} ${reason.slice(3)}` : sentence(reason));

export function Rollouts() {
  const [most, setMost] = useState(PAGE);
  const [list] = useFresh<Summary[]>(() => get(`/api/rollouts?limit=${most}`), () => true, [most], 10_000); // each counts the devices of every one
  const [making, setMaking] = useState(false);
  if (!list) return <p class="quiet">…</p>;
  return (
    <>
      <header class="bar"><h1>{t("rollouts")}</h1>{may("roll") && !making ? <button onClick={() => setMaking(true)}>{t("newRollout")}</button> : null}</header>
      {making ? <Making close={() => setMaking(false)} /> : null}
      {list.length || making ? null : <p class="calm">{t("noRollouts")}<br /><span class="quiet">{t("noRolloutsSub")}</span></p>}
      <ul class="rollouts">{list.map((one) => (
        <li key={one.number} class={BAD.has(one.state) ? "is-bad" : ""} data-rollout={one.number}>
          <a href={`#/rollout/${one.number}`}><span class="quiet">{one.number}</span> {one.what}{one.stage === "run" ? "" : ` · ${t("shadowStage")}`}</a>
          <strong class={BAD.has(one.state) ? "bad" : ""}>{BAD.has(one.state) ? "▲ " : ""}{standing(one.state)}</strong>
          <span class="quiet">{joined([one.waves ? `${t("wave")} ${one.wave + 1} ${t("ofAll")} ${one.waves}` : t("noWavesYet"), `${one.by} ${moment(one.created * 1000)}`])}</span>
          <div><Bar states={one.devices} /></div>
          {one.reason ? <p class={BAD.has(one.state) ? "bad" : "quiet"}>{because(one.reason)}</p> : null}
        </li>
      ))}</ul>
      {list.length === most && most < 100 ? <button onClick={() => setMost(100)}>{t("olderRollouts")}</button> : null}
    </>
  );
}

const SOAKS = [["10min", 10, "minutes"], ["30min", 30, "minutes"], ["2h", 2, "hours"], ["24h", 24, "hours"]] as const;

function Making({ close }: { close: () => void }) {
  const places = placesOf("roll"), whole = places.includes("");
  const [there] = useFresh<string[]>(() => get("/api/updates"), () => false, []);
  const [what, setWhat] = useState(""), [kind, setKind] = useState(""), [site, setSite] = useState(whole ? "" : places[0] ?? ""), [all, setAll] = useState(false);
  const [waves, setWaves] = useState("1, 2%, 10%, 50%"), [soak, setSoak] = useState("10min"), [shadow, setShadow] = useState(false), [back, setBack] = useState(false);
  const [fit, setFit] = useState<number | null>(null), [fault, setFault] = useState(""), [busy, setBusy] = useState(false);
  const begins = useFocus<HTMLSelectElement>();
  const named = !!(kind.trim() || site.trim()), chosen = named || all;
  useEffect(() => {
    setFit(null);
    if (!chosen) return;
    let gone = false;
    const words = new URLSearchParams({ limit: "1", class: kind.trim(), site: site.trim() });
    const timer = window.setTimeout(() => devicesOf(String(words)).then((page) => { if (!gone) setFit(page.total); }, failed), 250);
    return () => { gone = true; window.clearTimeout(timer); };
  }, [kind, site, chosen]);
  const begin = (e: Event) => {
    e.preventDefault();
    setBusy(true);
    setFault("");
    const devices = named ? { ...(kind.trim() ? { class: kind.trim() } : {}), ...(site.trim() ? { site: site.trim() } : {}) } : { all: true };
    const plan = {
      what, devices, soak, waves: waves.split(/[,，\s]+/).filter(Boolean).map((wave) => (/^\d+$/.test(wave) ? Number(wave) : wave)),
      ...(shadow && what.startsWith("model/") ? { stage: "shadow" } : {}), ...(back ? { at_breach: "back" } : {}),
    };
    send<{ number: number }>("POST", "/api/rollouts", plan).then((made) => { location.hash = `#/rollout/${made.number}`; }, (e) => { setBusy(false); setFault(e.message); failed(e); });
  };
  return (
    <form class="panel making" onSubmit={begin} aria-label={t("newRollout")} onKeyDown={(e) => { if (e.key === "Escape") close(); }}>
      <label>{t("whatGoes")} <select required value={what} ref={begins} onChange={(e) => setWhat(e.currentTarget.value)}>
        <option value="">{t("chooseWhat")}</option>{(there ?? []).map((one) => <option key={one} value={one}>{one}</option>)}</select></label>
      <label>{t("toClass")} <input value={kind} maxLength={64} placeholder={t("anyClass")} onInput={(e) => setKind(e.currentTarget.value)} /></label>
      <label>{t("toPlace")} <input value={site} maxLength={200} required={!whole} placeholder={t("anyPlace")} onInput={(e) => setSite(e.currentTarget.value)} list="places" />
        <datalist id="places">{places.filter(Boolean).map((one) => <option key={one} value={one} />)}</datalist></label>
      <label>{t("inWaves")} <input value={waves} title={t("wavesHow")} onInput={(e) => setWaves(e.currentTarget.value)} /></label>
      <label>{t("soak")} <select value={soak} onChange={(e) => setSoak(e.currentTarget.value)}>{SOAKS.map(([v, n, unit]) => <option key={v} value={v}>{n} {t(unit)}</option>)}</select></label>
      <p class="quiet hint">{t("wavesHow")}</p>
      <div class="checks">
        {whole && !named ? <label><input type="checkbox" checked={all} onChange={(e) => setAll(e.currentTarget.checked)} /> {t("everyDevice")}</label> : null}
        {what.startsWith("model/") ? <label><input type="checkbox" checked={shadow} onChange={(e) => setShadow(e.currentTarget.checked)} /> {t("inShadow")}</label> : null}
        <label><input type="checkbox" checked={back} onChange={(e) => setBack(e.currentTarget.checked)} /> {t("goesBack")}</label>
      </div>
      {fault ? <p class="bad" role="alert">{sentence(fault)}</p> : null}
      <div class="bar starts"><span class="choices"><button class="primary" disabled={busy || !what || !chosen || fit === 0}>{t("begin")}</button><button type="button" onClick={close}>{t("cancel")}</button></span>
        <span class="quiet" role="status">{fit === null ? "" : fit ? `${number(fit)} ${t(fit === 1 ? "fitsOne" : "fitMany")}` : t("noneFits")}</span></div>
    </form>
  );
}
