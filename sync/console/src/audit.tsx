// Who did what at the plane, and whether the chain of it holds.
import { useEffect, useState } from "preact/hooks";
import { get } from "./api";
import { Beside } from "./people";
import { moment, number, useFresh } from "./show";
import { may, meNow } from "./signin";
import { t } from "./words";

interface Deed { number: number; ts: number; who: string; origin: string; what: string; place: string; about: string; result: string; hash: string }
interface Chain { rows: number; hash: string; broken: string }
const PAGE = 100, MOST = 500;

export function Audit() {
  const [find, setFind] = useState(""), [asked, setAsked] = useState(""), [most, setMost] = useState(PAGE), [refused, setRefused] = useState(false);
  useEffect(() => { const timer = window.setTimeout(() => { setAsked(find.trim()); setMost(PAGE); }, 300); return () => window.clearTimeout(timer); }, [find]);
  const [rows] = useFresh<Deed[]>(() => get(`/api/audit?${new URLSearchParams({ find: asked, limit: String(most), ...(refused ? { refused: "true" } : {}) })}`), (m) => m.kind === "alive", [asked, most, refused]);
  if (meNow() && !may("audit")) return <p class="calm">{t("notForYou")}</p>;
  return (
    <>
      <header class="bar"><h1>{t("audit")}</h1><Beside here="#/audit" /></header>
      <div class="bar filters">
        <input id="filter" type="search" value={find} maxLength={100} placeholder={t("findDeed")} aria-label={t("findDeed")} onInput={(e) => setFind(e.currentTarget.value)} />
        <div class="choices" role="group" aria-label={t("show")}><button aria-pressed={!refused} onClick={() => setRefused(false)}>{t("all")}</button><button aria-pressed={refused} onClick={() => setRefused(true)}>{t("refusedOnly")}</button></div>
        <span class="grow" />{meNow()?.whole.includes("audit") ? <Holds /> : null}
      </div>
      <section class="panel" aria-label={t("audit")}>
        {rows?.length ? (
          <table class="deeds">
            <thead><tr><th class="wide n">{t("row")}</th><th>{t("time")}</th><th>{t("who")}</th><th>{t("did")}</th><th class="wide">{t("about")}</th><th>{t("ended")}</th></tr></thead>
            <tbody>{rows.map((row) => {
              const bad = !/^(2\d\d|303|done)$/.test(row.result);
              return (
                <tr key={row.number} class={bad ? "doubt" : ""} data-deed={row.number}>
                  <td class="wide n quiet">{row.number}</td><td>{moment(row.ts / 1e6)}</td><td>{row.who || "–"}<small class="quiet"> {row.origin}</small></td>
                  <td><code>{row.what}</code><small class="narrow">{row.about}</small></td><td class="wide">{row.about}{row.place ? <small class="quiet"> {row.place}</small> : null}</td><td title={row.result}>{bad ? "▲ " : "✓ "}{row.result}</td>
                </tr>
              );
            })}</tbody>
          </table>
        ) : <p class="quiet">{rows ? t("noDeeds") : "…"}</p>}
        {rows && rows.length === most && most < MOST ? <button onClick={() => setMost(MOST)}>{t("moreRows")}</button> : null}
      </section>
    </>
  );
}

function Holds() {
  const [chain] = useFresh<Chain>(() => get("/api/audit/chain"), () => false, []);
  if (!chain) return <span class="quiet" role="status">{t("chainChecks")}</span>;
  return chain.broken ? <strong class="bad" role="status">▲ {t("chainBroken")}: {chain.broken}</strong>
    : <span class="good" role="status" title={chain.hash}>✓ {number(chain.rows)} {t("chainHolds")}</span>;
}
