// Is my line well?
import { useEffect, useState } from "preact/hooks";
import { type Alarm, connection, type Device, devices, type Fleet, get, listen, patience, type Status } from "./api";
import { Standing } from "./alarms";
import { Heard, number, useFresh, useNow } from "./show";
import { known, t, type Word } from "./words";

const MOST = 5; // alarms here; the others are on their own page
const EACH = 250; // ms between two drawings: with many devices something comes all the time
interface Told { heard: number; status: Status; rate?: number }
interface Row extends Device { rate?: number }

export function Overview() {
  const [loaded] = useFresh<Fleet>(devices, (m) => m.kind === "events", []);
  const [alarms, again] = useFresh<Alarm[]>(() => get("/api/alarms"), (m) => m.kind === "events", []);
  const [refused] = useFresh<{ records: number }>(() => get("/api/refused/count"), (m) => m.kind === "events", []);
  const [live, setLive] = useState<Record<string, Told>>({});
  const now = useNow();
  useEffect(() => {
    let told: Record<string, Told> = {}, timer: number | undefined;
    const draw = () => { timer = undefined; setLive(told); };
    const stop = listen((m) => {
      if (m.kind === "open") told = {};
      else if (m.kind === "values" && m.device && m.status) told = { ...told, [m.device]: heard(told[m.device], m.status) };
      else return;
      timer ??= window.setTimeout(draw, EACH);
    });
    return () => { stop(); window.clearTimeout(timer); };
  }, []);
  if (!loaded || !alarms) return <p class="quiet">…</p>;
  const rows: Row[] = loaded.devices.map((d) => ({ ...d, ...live[d.id], heard: Math.max(d.heard, live[d.id]?.heard ?? -Infinity) }));
  return (
    <>
      <Headline rows={rows} alarms={alarms} now={now} />
      {refused?.records ? <p class="notice"><a href="#/refused">▲ {number(refused.records)} {t(refused.records === 1 ? "recordRefused" : "recordsRefused")} →</a></p> : null}
      {alarms.some((a) => !a.shelved) ? <Standing alarms={alarms.filter((a) => !a.shelved)} again={again} most={MOST} /> : null}
      <section class="cards" aria-label={t("devices")}>
        {[...rows].sort((a, b) => Number(unwell(b, now)) - Number(unwell(a, now))).map((d) => <Card key={d.id} device={d} now={now} />)}
      </section>
      {loaded.total > rows.length ? <p class="quiet">{number(loaded.total - rows.length)} {t("moreDevices")}</p> : null}
      {rows.length ? <p class="quiet"><a href="#/dossier">{t("dossier")} →</a></p> : null}
    </>
  );
}

/** What a device says now, its rate smoothed over some seconds. */
function heard(before: Told | undefined, status: Status): Told {
  const at = performance.now(), taken = (status.samples ?? 0) - (before?.status.samples ?? 0);
  if (!before || taken < 0) return { heard: at, status };
  const rate = (1000 * taken) / Math.max(1, at - before.heard);
  return { heard: at, status, rate: before.rate === undefined ? rate : 0.7 * before.rate + 0.3 * rate };
}

const isHeard = (d: Row, now: number) => now - d.heard < patience(d.status);
/** A part that does not run: no alarm says so, but the line is not well. */
const troubled = (d: Row) => Object.values(d.status.parts ?? {}).some((p) => p.state === "waiting" || p.state === "stopped");

const unwell = (d: Row, now: number) => !isHeard(d, now) || troubled(d) || d.alarms > 0 || !!d.status.journal;

function Headline({ rows, alarms, now }: { rows: Row[]; alarms: Alarm[]; now: number }) {
  if (connection.state !== "up") return <header class="headline unwell"><h1>{t("unknown")}</h1><p>{t("unknownSub")}</p></header>;
  if (!rows.length) return <header class="headline"><h1>{t("none")}</h1><p>{t("noneSub")}</p></header>;
  const standing = alarms.filter((a) => !a.shelved).length, aside = alarms.length - standing;
  const heard = rows.filter((d) => isHeard(d, now));
  const counted = (n: number, one: Word, more: Word) => (n ? [`${n} ${t(n === 1 ? one : more)}`] : []);
  const said = [
    ...counted(standing, "alarmStands", "alarmsStand"),
    ...counted(heard.filter(troubled).length, "deviceTroubled", "devicesTroubled"),
    ...counted(heard.filter((d) => d.status.journal).length, "deviceFull", "devicesFull"),
    ...counted(rows.length - heard.length, "deviceSilent", "devicesSilent"),
  ];
  const link = alarms.length ? <a href="#/alarms">{t("alarms")}{aside ? ` (${aside} ${t("aside")})` : ""} →</a> : null;
  if (!said.length) return <header class="headline well" role="status"><h1>✓ {t("well")}</h1><p>{link ?? t("wellSub")}</p></header>;
  return <header class="headline unwell" role="status"><h1>{said.join(" · ")}</h1>{link ? <p>{link}</p> : null}</header>;
}

function Card({ device: d, now }: { device: Row; now: number }) {
  const on = connection.state === "up" && isHeard(d, now), { dropped, journal } = d.status;
  const backlog = on ? d.status.backlog : undefined;
  return (
    <a class={`card ${on ? "" : "is-silent"}`} href={`#/device/${encodeURIComponent(d.id)}`}>
      <h2>{d.id}</h2>
      <Heard on={on} heard={d.heard} now={now} />
      <dl>
        <div><dt>{t("samples")}</dt><dd>{on && d.rate !== undefined ? Math.round(d.rate).toLocaleString() : "–"}</dd></div>
        <div><dt>{t("waiting")}</dt><dd data-backlog>{backlog ? number(backlog.samples) : "–"}
          {backlog?.records ? <small class="quiet"> + {number(backlog.records)} {t("records")}</small> : null}</dd></div>
        <div class={d.alarms ? "bad" : ""}><dt>{t("alarms")}</dt><dd>{d.alarms}</dd></div>
        <div class={dropped ? "bad" : ""}><dt>{t("gaveUp")}</dt><dd>{number(dropped ?? 0)}</dd></div>
      </dl>
      {journal ? <p class="bad">▲ {known(journal)}</p> : null}
      <ul class="parts">
        {Object.entries(d.status.parts ?? {}).map(([name, p]) => (
          <li key={name} class={p.state === "running" ? "" : "bad"}>{p.state === "running" ? "●" : "▲"} {name}
            {p.state === "running" ? "" : `: ${p.reason || known(p.state)}`}</li>
        ))}
      </ul>
    </a>
  );
}
