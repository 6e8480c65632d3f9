// One device: its tags as they are now, a chart, and how its parts are.
import { useEffect, useRef, useState } from "preact/hooks";
import { type Device as DeviceRow, devicesOf, get, listen, patience, type Status, type Tag, type Values } from "./api";
import { Questions } from "./asked";
import { Changes } from "./changes";
import { Chart } from "./chart";
import { Complete } from "./complete";
import { clock, Heard, number, Quality, reading, useFresh, useNow } from "./show";
import { may } from "./signin";
import { Twin } from "./twin";
import { joined, known, t } from "./words";

const SPANS = [5, 30, 240, 1440];
const MOST = 200; // rows
interface Told { epoch?: string; values: Values; status?: Status; at: number }
const NOTHING: Told = { values: {}, at: -Infinity };

export function Device({ id }: { id: string }) {
  const [loaded, again] = useFresh<Tag[]>(() => get(`/api/devices/${encodeURIComponent(id)}/tags`), (m) => m.kind === "events" && m.device === id, [id]);
  const [all] = useFresh<DeviceRow[]>(() => devicesOf(`id=${encodeURIComponent(id)}`).then((page) => page.devices), () => false, [id]);
  const [live, setLive] = useState<Told>(NOTHING);
  const [filter, setFilter] = useState("");
  const [shown, setShown] = useState<string | null>(null);
  const [minutes, setMinutes] = useState(SPANS[0]);
  const now = useNow();
  const tagsNow = useRef(loaded), asked = useRef(new Map<string, { next: number; wait: number }>());
  tagsNow.current = loaded;
  useEffect(() => listen((m) => {
    if (m.kind === "open") setLive(NOTHING);
    if (m.kind !== "values" || m.device !== id) return;
    const lacking = (tagsNow.current ?? []).flatMap((tag) => {
      const value = tag.type === "text" ? m.values?.[tag.id]?.[0] ?? null : null, key = `${m.epoch} ${value}`;
      return value === null || String(value) in tag.labels || performance.now() < (asked.current.get(key)?.next ?? 0) ? [] : [key];
    });
    if (lacking.length) { // a number overtook its string: asked for, less and less often
      for (const key of lacking) {
        const wait = 2 * (asked.current.get(key)?.wait ?? 250);
        asked.current.set(key, { next: performance.now() + wait, wait });
      }
      again();
    }
    setLive((old) => ({
      epoch: m.epoch, at: performance.now(), status: m.status ?? old.status,
      values: old.epoch === m.epoch ? { ...old.values, ...m.values } : m.values ?? {},
    }));
  }), [id]);
  if (!loaded || !all) return <p class="quiet">…</p>;
  const row = all.find((d) => d.id === id);
  if (!row) return <p class="calm">{t("noDevice")}: {id}</p>;
  const heard = Math.max(live.at, row.heard);
  const silent = now - heard > patience(live.status ?? row.status);  // nothing is heard: nothing is good
  const tags = loaded
    .map((tag) => { const l = live.values[tag.id]; return l ? { ...tag, value: l[0], quality: l[1], ts: l[2] } : tag; })
    .map((tag) => (silent ? { ...tag, quality: "STALE" } : tag));
  const listed = tags.filter((tag) => tag.name.toLowerCase().includes(filter.toLowerCase()));
  const picked = tags.find((tag) => tag.name === shown) ?? tags.find((tag) => tag.type !== "bool" && tag.type !== "text") ?? tags[0];
  const status = live.status ?? row.status;
  return (
    <>
      <header class="bar">
        <h1>{id}</h1><Heard on={!silent} heard={heard} now={now} /><span class="grow" />
        <input id="filter" type="search" placeholder={t("filter")} aria-label={t("filter")} value={filter} onInput={(e) => setFilter(e.currentTarget.value)} />
      </header>
      {picked ? (
        <section class="panel">
          <header class="bar"><h2>{picked.name} <span class="now">{reading(picked)} {picked.unit}</span></h2>
            <div class="choices" role="group" aria-label={t("time")}>{SPANS.map((m) => <button key={m} aria-pressed={m === minutes} onClick={() => setMinutes(m)}>{m < 60 ? `${m} ${t("minutes")}` : `${m / 60} ${t("hours")}`}</button>)}</div>
          </header>
          {picked.type === "text" ? <Changes device={id} tag={picked} minutes={minutes} /> : <Chart device={id} tag={picked} minutes={minutes} />}
          <Complete device={id} tag={picked} minutes={minutes} />
        </section>
      ) : null}
      <div class="columns">
        <section class="panel">
          <table>
            <thead><tr><th>{t("name")}</th><th class="n">{t("value")}</th><th>{t("unit")}</th><th>{t("quality")}</th><th class="wide">{t("time")}</th></tr></thead>
            <tbody>
              {listed.slice(0, MOST).map((tag) => (
                <tr key={tag.name} class={`${tag.quality === "GOOD" ? "" : "doubt"} ${tag.name === picked?.name ? "picked" : ""}`} onClick={() => setShown(tag.name)}>
                  <td><button class="plain" onClick={() => setShown(tag.name)}>{tag.name}</button></td>
                  <td class="n" data-tag={tag.name}>{reading(tag)}</td><td>{tag.unit}</td>
                  <td><Quality name={tag.quality} /></td><td class="wide quiet">{tag.ts ? clock(tag.ts / 1e6) : "–"}</td>
                </tr>
              ))}
            </tbody>
          </table>
          {listed.length > MOST ? <p class="quiet">{number(listed.length - MOST)} {t("moreTags")}</p> : null}
          {listed.length ? null : <p class="quiet">{t("noTags")}</p>}
        </section>
        <Parts status={status} />
      </div>
      <Questions device={id} tag={picked} status={status} silent={silent} may={may("command", row.site)} />
      <Twin device={id} />
    </>
  );
}

function Parts({ status }: { status?: Status }) {
  return (
    <section class="panel" aria-label={t("parts")}>
      <h2>{t("parts")}</h2>
      <table class="states"><tbody>
        {Object.entries(status?.parts ?? {}).map(([name, p]) => (
          <tr key={name} class={p.state === "running" ? "" : "doubt"}>
            <td>{p.state === "running" ? "●" : "▲"} {name}</td><td>{known(p.state)}</td>
            <td class="quiet">{p.reason || joined(Object.entries(p.counts).map(([k, n]) => `${known(k)} ${number(n)}`))}</td>
          </tr>
        ))}
      </tbody></table>
    </section>
  );
}
