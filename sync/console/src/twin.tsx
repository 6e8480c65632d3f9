// What the plane wants of a device, what the device tried, what runs there and why; and what somebody wrote at the device itself.
import { get, type Live } from "./api";
import { sentence } from "./sentences";
import { useFresh } from "./show";
import { known, t } from "./words";

const BAD = new Set(["refused", "rolled_back"]);
interface Wanted { kind: string; name: string; version: string; stage: string; generation: number }
interface Told { kind: string; name: string; state: string; running: string; tried: string; reason: string; generation: number }
interface Config { unsent: boolean; version: string; drift: string[]; problems: string[] }

export function Twin({ device }: { device: string }) {
  const path = `/api/devices/${encodeURIComponent(device)}`, mine = (m: Live) => m.kind === "events" && m.device === device;
  const [twin] = useFresh<{ wanted: Wanted[]; told: Told[] }>(() => get(`${path}/twin`), mine, [path]);
  const [config] = useFresh<Config>(() => get(`${path}/config`), mine, [path]);
  if (!twin || !(twin.wanted.length || twin.told.length)) return null;
  const rows = twin.wanted.map((w): [Wanted, Told | undefined] => [w, twin.told.find((s) => s.kind === w.kind && s.name === w.name)]);
  return (
    <section id="twin" class="panel" aria-label={t("twin")}>
      <h2>{t("twin")}</h2>
      <table class="states">
        <thead><tr><th /><th>{t("wanted")}</th><th>{t("tried")}</th><th>{t("runsNow")}</th><th>{t("state")}</th></tr></thead>
        <tbody>
          {rows.map(([w, s]) => {
            const state = s && s.generation >= w.generation ? s.state : "waiting"; // what it says of an earlier want says nothing of this one
            return (
              <tr key={`${w.kind}/${w.name}`} class={BAD.has(state) ? "doubt" : ""}>
                <td>{known(w.kind)}{w.name === w.kind ? "" : ` ${w.name}`}</td><td>{w.version || t("itsOwn")}</td><td>{s?.tried || "–"}</td><td>{s?.running || t("itsOwn")}</td>
                <td>{BAD.has(state) ? "▲ " : ""}{state === "waiting" && s?.state !== "waiting" ? t("notAsked") : known(state)}
                  {state === s?.state && s.reason ? <span class="quiet"> {sentence(s.reason)}</span> : null}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {config?.drift.length ? <><h3>{t("written")}</h3><ul class="quiet">{config.drift.map((line) => <li key={line}><code>{line}</code></li>)}</ul></> : null}
      {config?.unsent && config.version ? <p class="quiet">{t("unsent")}: {config.version}</p> : null}
      {config?.unsent && config.problems.length ? <ul class="doubt">{config.problems.map((line) => <li key={line}>▲ {line}</li>)}</ul> : null}
    </section>
  );
}
