// Why the station said what it said of a part: each tool with its score and what it was told.
import type { Happening } from "./api";
import { verdict } from "./part";
import { number } from "./show";
import { joined, limit, t } from "./words";

const MOST = 12; // tools
const WORST = ["ng", "recheck", "ok"];
type Finding = [string, string, number]; // view.tool, state, score

const findings = (e: Happening): Finding[] =>
  Object.entries(e.data.findings ?? {}).flatMap(([name, f]) => (Array.isArray(f) && f.length === 2 ? [[name, String(f[0]), Number(f[1])] as Finding] : []))
    .sort((a, b) => WORST.indexOf(a[1]) - WORST.indexOf(b[1]));

/** What a tool was told in numbers: thresholds, tolerances, limits. */
const limits = (options: unknown): string =>
  joined(Object.entries((options ?? {}) as Record<string, unknown>).flatMap(([k, v]) => (typeof v === "number" ? [`${limit(k)} ${number(v)}`] : [])).slice(0, 6));

export function Reasons({ part: e }: { part: Happening }) {
  const found = findings(e);
  if (!found.length) return <p class="quiet">{t("score")} {number(typeof e.data.score === "number" ? e.data.score : null)}</p>;
  return (
    <table class="reasons">
      <thead><tr><th>{t("tool")}</th><th class="n">{t("score")}</th><th>{t("limits")}</th></tr></thead>
      <tbody>{found.slice(0, MOST).map(([name, state, score]) => (
        <tr key={name} class={state}><td><span class="mark-of">{state === "ok" ? "✓" : state === "ng" ? "✕" : "?"}</span> {name}<span class="hidden"> {verdict(state)}</span></td>
          <td class="n">{number(score)}</td><td class="quiet">{limits(e.data.tools?.[name])}</td></tr>
      ))}</tbody>
    </table>
  );
}
