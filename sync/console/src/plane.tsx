// What the plane does of itself: its rules, and where events go.
import { useState } from "preact/hooks";
import { failed, get, type Live, sendAgain } from "./api";
import { moment, number, useFresh } from "./show";
import { joined, t } from "./words";

interface Rule { rule: string; device: string; until: number; active: boolean; blind: number }
interface Target { name: string; delivered: number; waits: number; aside: number; trouble: string; since: number }
const MOST = 200; // alarms of rules; those that are quiet are left out first
const news = (m: Live) => m.kind === "events" || m.kind === "alive";

const unwell = (one: Rule) => one.active || one.blind > 0;

export function Plane() {
  const [rules] = useFresh<Rule[]>(() => get("/api/rules"), news, []);
  const [targets, look] = useFresh<Target[]>(() => get("/api/forwarding"), news, []);
  const [fault, setFault] = useState("");
  const again = (one: Target) => {
    setFault("");
    sendAgain(one.name).then(look, (e) => { setFault(`${one.name}: ${t("notDone")}`); failed(e); });
  };
  return (
    <>
      <h1>{t("forwarding")}</h1>
      {fault ? <div class="banner" role="alert">{fault}</div> : null}
      <section class="panel">
        {targets?.length === 0 ? <p class="quiet">{t("noTargets")}</p> : null}
        {targets?.length ? (
          <table>
            <thead><tr><th>{t("target")}</th><th>{t("delivered")}</th><th>{t("waits")}</th><th>{t("aside4xx")}</th><th /></tr></thead>
            <tbody>
              {targets.map((one) => (
                <tr key={one.name} data-target={one.name}>
                  <td>{one.name}</td><td>{number(one.delivered)}</td><td>{number(one.waits)}</td>
                  <td class={one.aside ? "bad" : ""}>{number(one.aside)}{one.aside ? <> <button class="needs-plane" onClick={() => again(one)}>{t("sendAgain")}</button></> : null}</td>
                  <td class={one.trouble ? "bad wide" : "quiet wide"}>{one.trouble ? `▲ ${moment(one.since * 1000)} ${one.trouble}` : `● ${t("runs")}`}</td>
                </tr>
              ))}
            </tbody>
          </table>
        ) : null}
      </section>
      <h2>{t("rules")}</h2>
      <section class="panel">
        {rules?.length === 0 ? <p class="quiet">{t("noRules")}</p> : null}
        {rules?.length ? (
          <table>
            <thead><tr><th>{t("rule")}</th><th class="wide">{t("devices")}</th><th>{t("judgedUntil")}</th><th /></tr></thead>
            <tbody>
              {[...rules].sort((a, b) => Number(unwell(b)) - Number(unwell(a))).slice(0, MOST).map((one) => (
                <tr key={`${one.rule}@${one.device}`} data-rule={one.rule}>
                  <td>{one.rule}</td><td class="wide">{one.device}</td><td class="quiet">{moment(one.until / 1e6)}</td>
                  <td class={one.active || one.blind ? "bad" : "quiet"}>{joined([
                    one.active ? `▲ ${t("raised")}` : one.blind ? "" : `● ${t("quietRule")}`,
                    one.blind ? `${t("blind")} ${one.blind} ${t("minutes")}` : "",
                  ])}</td>
                </tr>
              ))}
            </tbody>
          </table>
        ) : null}
      </section>
    </>
  );
}
