// One machine: its hours, what is due, its alarms, its parts, what was done and is to be done.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { type Alarm, get, send } from "./api";
import { Standing } from "./alarms";
import { type Asset, days, type Due, hours, type Rule, wrong } from "./assets";
import { AssetForm } from "./asset_form";
import { BehindList, type Graph } from "./cases";
import { DeedForm, type Part, PartForm } from "./deed";
import { type Order, OrderForm, OrderList } from "./orders";
import { sentence } from "./sentences";
import { day, moment, number, useFresh } from "./show";
import { may } from "./signin";
import { Similar, useTold } from "./similar";
import { Sure } from "./sure";
import { t } from "./words";

interface Deed { number: number; rule: string; did: string; at: number; by: string; work_order: number; ran: number | null }
interface Whole extends Asset { rules: Rule[]; parts: Part[]; maintenance: Deed[]; work_orders: Order[]; alarms: Alarm[] }
type Asks = { what: "change" } | { what: "deed"; rule: string } | { what: "order"; title: string; origin: string; about: string } | { what: "part"; instead: Part | null };

export function AssetPage({ number: its }: { number: number }) {
  const [missing, setMissing] = useState(false), [asks, setAsks] = useState<Asks | null>(null), [fault, setFault] = useState("");
  const load = () => get<Whole>(`/api/assets/${its}`).catch((e) => { setMissing(e.message.endsWith(": 404")); throw e; });
  const [one, again] = useFresh<Whole>(load, (m) => m.kind === "events", [its], 2000);
  const told = useTold(), kind = one?.class ?? "";
  const [known] = useFresh<Graph | null>(() => (kind ? get(`/api/cases/graph?${new URLSearchParams({ kind: "asset", text: kind })}`) : Promise.resolve(null)), () => false, [kind]);
  if (missing) return <p class="calm">{t("noSuchAsset")}</p>;
  if (!one) return <p class="quiet">…</p>;
  const close = () => setAsks(null), maintains = may("maintain", one.place), names = may("asset", one.place);
  const act = (method: string, path: string, body?: unknown) => { setFault(""); return send(method, `/api/assets/${its}${path}`, body).then(again, wrong(setFault)); };
  const history = one.parts.length || one.maintenance.length || one.work_orders.length;
  return (
    <>
      <header class="bar"><h1><a href="#/assets" class="quiet" aria-label={t("assets")}>‹</a> {one.id} <span class="now">{one.name}</span></h1><span class="grow" />
        <span class="choices">{maintains ? <><button onClick={() => setAsks({ what: "deed", rule: "" })}>{t("addMaintenance")}</button><button onClick={() => setAsks({ what: "order", title: "", origin: "hand", about: "" })}>{t("newOrder")}</button></> : null}
          {names ? <button onClick={() => setAsks({ what: "change" })}>{t("changeAsset")}</button> : null}
          {names && !history ? <Sure word={t("deleteAsset")} question={t("sureDelete")} bad act={() => send("DELETE", `/api/assets/${its}`).then(() => { location.hash = "#/assets"; }, wrong(setFault))} /> : null}</span></header>
      {fault ? <p class="bad" role="alert">{sentence(fault)}</p> : null}
      <section class="panel" aria-label={t("asset")}><Facts one={one} /></section>
      {one.alarms.length ? <><h2>{t("alarmsOfIt")}</h2><Standing alarms={one.alarms} again={again} below={(alarm) => <Similar told={told} alarm={alarm} />} more={maintains ? (alarm) => openOf(one, "alarm", alarm.key) ?? <button onClick={() => setAsks({ what: "order", title: alarm.text || alarm.key, origin: "alarm", about: alarm.key })}>{t("orderIt")}</button> : undefined} /></> : null}
      {one.retired ? null : <Section title={t("dueTitle")}>{one.due.length ? <Dues one={one} may={maintains} ask={setAsks} /> : <p class="quiet">{t("noRules2")}</p>}</Section>}
      <Section title={t("workOrders")}><OrderList list={one.work_orders} again={again} /></Section>
      <Section title={t("partsIn")} button={maintains ? <button onClick={() => setAsks({ what: "part", instead: null })}>{t("buildIn")}</button> : null}>
        <Parts parts={one.parts} may={maintains} exchange={(instead) => setAsks({ what: "part", instead })} remove={(part) => act("POST", "/parts", { position: part.position })} />
      </Section>
      <Section title={t("maintenanceDone")}>{one.maintenance.length ? (
        <ul class="rows plain">{one.maintenance.map((deed) => (
          <li key={deed.number} data-deed={deed.number}><div>{deed.rule ? <strong>{deed.rule}: </strong> : null}{deed.did}<p class="quiet">{moment(deed.at * 1000)} {deed.by}{deed.work_order ? ` · ${t("orderNumber")} ${deed.work_order}` : ""}</p></div>{deed.ran === null ? null : <span class="quiet">{t("sinceThen")} {hours(deed.ran)}</span>}</li>
        ))}</ul>
      ) : <p class="quiet">{t("noMaintenance")}</p>}</Section>
      {known?.behind.length ? <Section title={t("casesOfClass")}><BehindList behind={known.behind} /></Section> : null}
      {asks?.what === "change" ? <AssetForm of={one} close={close} done={again} /> : null}
      {asks?.what === "deed" ? <DeedForm title={`${one.id} ${one.name}`} rules={one.rules} rule={asks.rule} parts={one.parts} close={close} keep={(deed) => send("POST", `/api/assets/${its}/maintenance`, deed).then(again)} /> : null}
      {asks?.what === "order" ? <OrderForm asset={its} {...asks} close={close} again={again} /> : null}
      {asks?.what === "part" ? <PartForm asset={its} instead={asks.instead} parts={one.parts} close={close} again={again} /> : null}
    </>
  );
}

function Section({ title, button, children }: { title: string; button?: ComponentChildren; children: ComponentChildren }) {
  return <section class="panel" aria-label={title}><header class="bar"><h2>{title}</h2>{button}</header>{children}</section>;
}

function Facts({ one }: { one: Whole }) {
  const ran = one.hours === null ? "–" : <>{hours(one.hours)} <small class="quiet">{one.until ? `${t("countedTo")} ${moment(one.until * 1000)}` : one.running || one.counter ? t("notCounted") : ""}</small></>;
  const facts: [string, ComponentChildren][] = [
    [t("ranFor"), ran], [t("aDay"), one.daily === null ? "–" : <>{number(Math.round(one.daily * 10) / 10)} <small class="quiet">{t("lately")}</small></>],
    [t("place"), one.place || t("wholePlane")], [t("itsClass"), one.class || "–"], [t("itsDevice"), one.device ? <a href={`#/device/${encodeURIComponent(one.device)}`}>{one.device}</a> : "–"], [t("itsTags"), one.tags || "–"],
    [t("saysItRuns"), one.counter || (one.running ? `${one.running} ${t("aboveWhat")} ${number(one.above)}` : "–")], [t("inService"), day(one.begun * 1000)],
    ...(one.retired ? [[t("outOfService"), day(one.retired * 1000)] as [string, ComponentChildren]] : []),
  ];
  return <><dl class="facts">{facts.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>{one.waits ? <p class="quiet">{number(one.waits)} {t("hoursWait")}</p> : null}</>;
}

/** The work order that is open for an alarm or a rule. */
function openOf(one: Whole, origin: string, about: string): ComponentChildren {
  const order = one.work_orders.find((it) => it.state === "open" && it.origin === origin && it.about === about);
  return order ? <span class="quiet">{order.number}: {t("nowOpen")}</span> : null;
}

function Dues({ one, may: maintains, ask }: { one: Whole; may: boolean; ask: (asks: Asks) => void }) {
  const every = (rule: Due) => `${t("everyWord")} ${[rule.hours ? hours(rule.hours) : "", rule.days ? days(rule.days) : ""].filter(Boolean).join(` ${t("orWord")} `)}`;
  const since = (rule: Due) => [rule.hours ? hours(rule.ran) : "", rule.days ? days(Math.floor(rule.passed)) : ""].filter(Boolean).join(" · ");
  return (
    <ul class="rows plain">{one.due.map((rule) => (
      <li key={rule.what} data-rule={rule.what} class={rule.due ? "is-due" : ""}>
        <div><strong>{rule.what}</strong> <span class="quiet">{every(rule)}</span><p class="quiet">{rule.last === null ? t("neverDone") : `${t("lastDone")} ${moment(rule.last * 1000)}`} · {t("sinceThen")} {since(rule)}</p></div>
        <span class={rule.due ? "warn" : "quiet"}>{rule.due ? `▲ ${t("isDue")}` : rule.at ? `${t("dueOn")} ${day(rule.at * 1000)}` : t("whenUnknown")}</span>
        {maintains ? <span class="actions"><button onClick={() => ask({ what: "deed", rule: rule.what })}>{t("done2")}</button>{openOf(one, "due", rule.what) ?? <button onClick={() => ask({ what: "order", title: rule.what, origin: "due", about: rule.what })}>{t("orderIt")}</button>}</span> : <span />}
      </li>
    ))}</ul>
  );
}

function Parts({ parts, may: maintains, exchange, remove }: { parts: Part[]; may: boolean; exchange: (part: Part) => void; remove: (part: Part) => void }) {
  const there = parts.filter((part) => !part.removed), gone = parts.filter((part) => part.removed);
  return (
    <>
      {there.length ? (
        <ul class="rows plain">{there.map((part) => (
          <li key={part.number} data-part={part.position}>
            <div><strong>{part.position}</strong>: {part.part} {part.serial ? <code>{part.serial}</code> : null}<p class="quiet">{t("builtIn")} {moment(part.installed * 1000)} {part.installed_by}{part.note ? ` · ${part.note}` : ""}</p></div>
            <span class="n">{part.ran === null ? "" : hours(part.ran)}</span>
            {maintains ? <span class="actions"><button onClick={() => exchange(part)}>{t("exchangePart")}</button><Sure word={t("takeOut")} question={t("sureTakeOut")} act={() => remove(part)} /></span> : <span />}
          </li>
        ))}</ul>
      ) : <p class="quiet">{t("noParts")}</p>}
      {gone.length ? (
        <details><summary>{t("wereThere")} ({number(gone.length)})</summary>
          <ul class="rows plain">{gone.map((part) => (
            <li key={part.number}><div>{part.position}: {part.part} {part.serial ? <code>{part.serial}</code> : null}<p class="quiet">{t("builtIn")} {moment(part.installed * 1000)} {part.installed_by} · {t("removedAt")} {moment(part.removed * 1000)} {part.removed_by}</p></div><span class="n">{part.ran === null ? "" : hours(part.ran)}</span><span /></li>
          ))}</ul></details>
      ) : null}
    </>
  );
}
