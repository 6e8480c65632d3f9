// One device: its tags as they are now, a chart, and how its parts are.
import { useEffect, useState } from "preact/hooks";
import { type Device as DeviceRow, get, listen, type Status, type Tag } from "./api";
import { Chart } from "./chart";
import { clock, number, Quality, useFresh } from "./show";
import { known, t } from "./words";

const SPANS = [5, 30, 240, 1440];

export function Device({ id, failed }: { id: string; failed: (e: unknown) => void }) {
  const base = `/api/devices/${encodeURIComponent(id)}`;
  const [loaded] = useFresh<Tag[]>(() => get(`${base}/tags`), (m) => m.kind === "events" && m.device === id, [id], failed);
  const [all] = useFresh<DeviceRow[]>(() => get("/api/devices"), () => false, [id], failed);
  const [live, setLive] = useState<Record<string, [number | null, string, number]>>({});
  const [status, setStatus] = useState<Status | null>(null);
  const [filter, setFilter] = useState("");
  const [shown, setShown] = useState<string | null>(null);
  const [heard, setHeard] = useState(Date.now());
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = window.setInterval(() => setNow(Date.now()), 1000);
    return () => window.clearInterval(timer);
  }, []);
  const [minutes, setMinutes] = useState(SPANS[0]);
  useEffect(() => listen((m) => {
    if (m.kind !== "values" || m.device !== id) return;
    setHeard(Date.now());
    setLive((old) => ({ ...old, ...m.values }));
    if (m.status) setStatus(m.status);
  }), [id]);
  if (!loaded) return <p class="quiet">…</p>;
  const tags = loaded
    .map((tag) => { const l = live[tag.id]; return l ? { ...tag, value: l[0], quality: l[1], ts: l[2] } : tag; })
    .map((tag) => (now - heard > 10_000 ? { ...tag, quality: "STALE" } : tag))  // nothing is heard: nothing is good
    .filter((tag) => tag.name.toLowerCase().includes(filter.toLowerCase()));
  const picked = tags.find((tag) => tag.name === shown) ?? tags.find((tag) => tag.type !== "bool") ?? tags[0];
  const parts = Object.entries((status ?? all?.find((d) => d.id === id)?.status)?.parts ?? {});
  return (
    <>
      <header class="bar">
        <h1>{id}</h1>
        <input id="filter" type="search" placeholder={t("filter")} aria-label={t("filter")} value={filter} onInput={(e) => setFilter(e.currentTarget.value)} />
      </header>
      {picked ? (
        <section class="panel">
          <header class="bar"><h2>{picked.name} <span class="now">{number(picked.value, picked.labels)} {picked.unit}</span></h2>
            <div class="choices" role="group">{SPANS.map((m) => <button key={m} aria-pressed={m === minutes} onClick={() => setMinutes(m)}>{m < 60 ? `${m} ${t("minutes")}` : `${m / 60} ${t("hours")}`}</button>)}</div>
          </header>
          <Chart device={id} tag={picked} minutes={minutes} failed={failed} />
        </section>
      ) : null}
      <div class="columns">
        <section class="panel">
          <table>
            <thead><tr><th>{t("name")}</th><th class="n">{t("value")}</th><th>{t("unit")}</th><th>{t("quality")}</th><th class="wide">{t("time")}</th></tr></thead>
            <tbody>
              {tags.map((tag) => (
                <tr key={tag.name} class={`${tag.quality === "GOOD" ? "" : "doubt"} ${tag.name === picked?.name ? "picked" : ""}`} onClick={() => setShown(tag.name)}>
                  <td><button class="plain" onClick={() => setShown(tag.name)}>{tag.name}</button></td>
                  <td class="n" data-tag={tag.name}>{number(tag.value, tag.labels)}</td><td>{tag.unit}</td>
                  <td><Quality name={tag.quality} /></td><td class="wide quiet">{tag.ts ? clock(tag.ts / 1e6) : "–"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
        <section class="panel" aria-label={t("parts")}>
          <h2>{t("parts")}</h2>
          <table><tbody>
            {parts.map(([name, p]) => (
              <tr key={name} class={p.state === "running" ? "" : "doubt"}>
                <td>{p.state === "running" ? "●" : "▲"} {name}</td><td>{known(p.state === "waiting" ? "wait" : p.state)}</td>
                <td class="quiet">{p.reason || Object.entries(p.counts).map(([k, n]) => `${k} ${n.toLocaleString()}`).join(", ")}</td>
              </tr>
            ))}
          </tbody></table>
        </section>
      </div>
    </>
  );
}
