// One rollout: where it stands, what its gates found, what each device says; and what is done with it.
import { useEffect, useState } from "preact/hooks";
import { failed, get, send } from "./api";
import { because, BAD, Bar, type Summary } from "./rollouts";
import { sentence } from "./sentences";
import { moment, number, span, useFresh, weekday } from "./show";
import { may } from "./signin";
import { Sure } from "./sure";
import { joined, known, standing, t, type Word } from "./words";

type Verb = "pause" | "resume" | "halt" | "back";
interface Gate { gate: string; wave: number | null; found: number; of: number; low: number; most: number; enough: boolean; at_least: number }
interface Plan {
  devices: { class: string; site: string; ids: string[]; all: boolean }; stage: string; per_site: number; per_minute: number; soak: number; patience: number; attempt: number;
  hours: { zone: string; from: string; to: string; days: string[] }[]; at_breach: string; late: boolean; gates: Record<string, { severity?: string[] } | null>;
}
interface Whole extends Summary { plan: Plan; sizes: number[]; in_waves: Record<string, number>[]; waits_for: string; gates: Gate[]; can: Verb[] }
interface Row {
  device: string; wave: number; state: string; late: boolean; hit: string; version: string; before: string; tried: string | null; running: string | null; reason: string | null;
  asked: number; began: number; ended: number; why: string;
}
const GATES: Record<string, Word> = { failed: "gateFailed", alarms: "gateAlarms", silent: "gateSilent", ng: "gateNg" };
const STATES = ["failed", "stuck", "trying", "watched", "asked", "back", "good", "returned", "waits", "over", "gone"];
const ILL = new Set(["failed", "stuck"]), PAGE = 100;
const percent = (share: number) => `${number(Math.round(share * 10) / 10)} %`;

export function Rollout({ number: n }: { number: number }) {
  const path = `/api/rollouts/${n}`;
  const [missing, setMissing] = useState(false), [fault, setFault] = useState(""), [busy, setBusy] = useState(false);
  const load = () => get<Whole>(path).catch((e) => { if (String(e.message).endsWith(": 404")) setMissing(true); throw e; });
  const [one, again] = useFresh<Whole>(load, () => true, [path], 3000);
  if (missing) return <p class="calm">{t("noSuchRollout")}: {n}</p>;
  if (!one) return <p class="quiet">…</p>;
  const order = (verb: Verb) => {
    setBusy(true);
    setFault("");
    send("POST", path, { verb }).then(again, (e) => { setFault(e.message); failed(e); }).finally(() => setBusy(false));
  };
  const bad = BAD.has(one.state);
  return (
    <>
      <header class="bar">
        <h1><a href="#/rollouts">{t("rollout")} {n}</a> {one.what}</h1>
        {may("roll", one.plan.devices.site) ? <Orders one={one} busy={busy} order={order} /> : null}
      </header>
      {fault ? <p class="bad" role="alert">{sentence(fault)}</p> : null}
      <section class={`panel stands ${bad ? "is-bad" : ""}`} aria-label={t("state")}>
        <p><strong class={bad ? "bad" : ""}>{bad ? "▲ " : ""}{standing(one.state)}</strong> <span class="quiet">{moment(one.since * 1000)}</span>
          {one.reason ? <span class={bad ? "bad" : "quiet"}> {because(one.reason)}</span> : null}</p>
        {one.waits_for ? <p class="quiet">{sentence(one.waits_for)}</p> : null}
        <Bar states={one.devices} />
        <Facts one={one} />
      </section>
      <div class="columns">
        <Waves one={one} />
        <Gates one={one} />
      </div>
      <Devices number={n} states={one.devices} hits={Object.values(one.hits).reduce((sum, k) => sum + k, 0)} />
    </>
  );
}

function Orders({ one, busy, order }: { one: Whole; busy: boolean; order: (verb: Verb) => void }) {
  const can = (verb: Verb) => one.can.includes(verb);
  return (
    <div class="choices">
      {can("pause") ? <button disabled={busy} onClick={() => order("pause")}>{t("pause")}</button> : null}
      {can("resume") ? one.state === "halted" ? <Sure key="resume" word={t("resume")} question={t("sureResume")} act={() => order("resume")} disabled={busy} /> : <button disabled={busy} onClick={() => order("resume")}>{t("resume")}</button> : null}
      {can("halt") ? <button class="bad" disabled={busy} title={t("sureHalt")} onClick={() => order("halt")}>{t("halt")}</button> : null}
      {can("back") ? <Sure key="back" word={t("takeBack")} question={t("sureBack")} act={() => order("back")} disabled={busy} bad /> : null}
    </div>
  );
}

function Facts({ one }: { one: Whole }) {
  const { plan } = one, d = plan.devices;
  const who = d.all ? t("allDevices") : joined([d.class && `${t("atClass")} ${d.class}`, d.site && `${t("atPlace")} ${d.site}`, d.ids.length ? `${number(d.ids.length)} ${t("namedDevices")}` : ""]);
  const said: [Word, string][] = [
    ["whoGets", who], ["stage", t(plan.stage === "shadow" ? "shadowStage" : "run")], ["soak", span(plan.soak * 1000)], ["atBreach", t(plan.at_breach === "back" ? "backs" : "halts")],
    ["patience", span(plan.patience * 1000)], ["attempt", span(plan.attempt * 1000)], ["perSite", plan.per_site ? number(plan.per_site) : t("anyPlace")], ["perMinute", number(plan.per_minute)],
    ...plan.hours.map((h): [Word, string] => ["onlyHours", joined([h.days.map(weekday).join(" "), `${h.from} – ${h.to} ${h.zone}`])]), ["lateToo", t(plan.late ? "lateGet" : "lateNot")], ["begunBy", `${one.by} ${moment(one.created * 1000)}`],
  ];
  return <dl class="facts">{said.map(([word, text], k) => <div key={k}><dt>{t(word)}</dt><dd>{text}</dd></div>)}</dl>;
}

function Waves({ one }: { one: Whole }) {
  return (
    <section class="panel" aria-label={t("waves")}>
      <h2>{t("waves")}</h2>
      {one.sizes.length ? (
        <table class="waves"><tbody>{one.sizes.map((size, k) => {
          const { wave, late, ...states } = one.in_waves.find((w) => w.wave === k) ?? { wave: k, late: 0 };
          return (
            <tr key={k} class={k === one.wave && one.state === "running" ? "picked" : ""} data-wave={k + 1}>
              <td>{k + 1}</td><td class="n">{number(size)}</td><td><Bar states={states} />{late ? <small class="silent"> {number(late)} {t("late")}</small> : null}</td>
            </tr>
          );
        })}</tbody></table>
      ) : <p class="quiet">{t("noWavesYet")}</p>}
    </section>
  );
}

/** Where each is nearest to a breach. */
function Gates({ one }: { one: Whole }) {
  return (
    <section class="panel" aria-label={t("gates")}>
      <h2>{t("gates")}</h2>
      <table class="gates">
        <thead><tr><th /><th>{t("foundOf")}</th><th class="n">{t("surely")}</th><th class="n">{t("mayBe")}</th></tr></thead>
        <tbody>{one.gates.map((g) => {
          const broken = g.enough && g.found > 0 && g.low > g.most;
          return (
            <tr key={g.gate} class={broken ? "doubt" : ""} data-gate={g.gate}>
              <td>{broken ? "▲ " : ""}{t(GATES[g.gate] ?? "gate")}{one.plan.gates[g.gate]?.severity ? <small class="quiet"> {joined(one.plan.gates[g.gate]!.severity!.map(known))}</small> : null}</td>
              <td>{g.of ? <>{number(g.found)} {t("outOf")} {number(g.of)} <small class="quiet">{g.wave === null ? t("inAllWaves") : `${t("wave")} ${g.wave + 1}`}{g.enough ? "" : `, ${t("notEnough")}: ${g.at_least}`}</small></> : <span class="quiet">{t("noneTried")}</span>}</td>
              <td class="n">{g.of ? percent(g.low) : "–"}</td><td class="n">{percent(g.most)}</td>
            </tr>
          );
        })}</tbody>
      </table>
    </section>
  );
}

function Devices({ number: n, states, hits }: { number: number; states: Record<string, number>; hits: number }) {
  const [shown, setShown] = useState(hits ? "hit" : ""), [most, setMost] = useState(PAGE);
  useEffect(() => setMost(PAGE), [shown]);
  const words = shown === "hit" ? "hit=true" : `state=${shown}`;
  const [rows] = useFresh<Row[]>(() => get(`/api/rollouts/${n}/devices?${words}&limit=${most}`), () => true, [n, words, most], 3000);
  const there = STATES.filter((state) => states[state]);
  return (
    <section class="panel" aria-label={t("devices")}>
      <header class="bar"><h2>{t("devices")}</h2>
        <div class="choices" role="group" aria-label={t("show")}>
          <button aria-pressed={shown === ""} onClick={() => setShown("")}>{t("all")}</button>
          {hits ? <button aria-pressed={shown === "hit"} onClick={() => setShown("hit")}>▲ {t("foundByGate")} {number(hits)}</button> : null}
          {there.length > 1 ? there.map((state) => <button key={state} aria-pressed={shown === state} onClick={() => setShown(state)}>{standing(state)} {number(states[state])}</button>) : null}
        </div>
      </header>
      {rows?.length ? (
        <table class="fleet">
          <thead><tr><th>{t("devices")}</th><th class="wide n">{t("wave")}</th><th>{t("stateOf")}</th><th>{t("wanted")}</th><th class="wide">{t("tried")}</th><th>{t("runsNow")}</th><th class="wide">{t("reason")}</th></tr></thead>
          <tbody>{rows.map((row) => {
            const ill = ILL.has(row.state) || row.hit !== "", why = sentence(row.why || (row.tried === row.version && row.reason) || ""), when = row.ended || row.began || row.asked;
            return (
              <tr key={row.device} class={ill ? "doubt" : ""} data-device={row.device}>
                <td><a href={`#/device/${encodeURIComponent(row.device)}`}>{row.device}</a></td><td class="wide n">{row.wave + 1}</td>
                <td>{ill ? "▲ " : ""}{standing(row.state)}{row.late && ["asked", "back"].includes(row.state) ? <small class="silent"> {t("late")}</small> : null}{row.hit && row.hit !== "failed" ? <small> {t(GATES[row.hit] ?? "gate")}</small> : null}{why ? <small class="narrow">{why}</small> : null}</td>
                <td>{["back", "returned", "stuck"].includes(row.state) ? row.before || t("itsOwn") : row.version}</td><td class="wide">{row.tried || "–"}</td><td>{row.running || t("itsOwn")}</td>
                <td class="wide">{why} <small class="quiet">{when ? moment(when * 1000) : ""}</small></td>
              </tr>
            );
          })}</tbody>
        </table>
      ) : <p class="quiet">{rows ? t("noDeviceSo") : "…"}</p>}
      {rows && rows.length === most && most < 1000 ? <button onClick={() => setMost(1000)}>{t("moreRows")}</button> : null}
    </section>
  );
}
