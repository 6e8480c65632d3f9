// What goes to many devices, wave after wave: every rollout.
import { useState } from "preact/hooks";
import { get } from "./api";
import { RolloutForm } from "./rollout_form";
import { sentence } from "./sentences";
import { moment, number, useFresh } from "./show";
import { may } from "./signin";
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
      {making ? <RolloutForm close={() => setMaking(false)} /> : null}
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
