// What was seen before on machines, why, and what helped: looked for, written, brought in, and browsed from one thing to another.
import { useEffect, useState } from "preact/hooks";
import { failed, get, send } from "./api";
import { CaseForm, type Kept, sharesOf } from "./case_form";
import { PlaceChoice } from "./people";
import { sentence } from "./sentences";
import { moment, number, useFresh } from "./show";
import { may } from "./signin";
import { Sure } from "./sure";
import { TakeIn } from "./take_in";
import { joined, t, type Word } from "./words";

const KINDS = ["asset", "component", "symptom", "cause", "remedy"] as const;
type Kind = (typeof KINDS)[number];
const NODE: Record<Kind, Word> = { asset: "assetNode", component: "componentNode", symptom: "symptomNode", cause: "causeNode", remedy: "remedyNode" };
interface Node { text: string; cases: number }
interface Behind { number: number; id: string; place: string; symptom: string }
export interface Graph { kind: string; text: string; cases: number; neighbours: Record<Kind, Node[]>; behind: Behind[] }
const PAGE = 50;
export const percent = (near: number): string => `${Math.round(near * 100)} %`;
export const toNode = (kind: Kind, text: string): string => `#/cases/graph/${kind}/${encodeURIComponent(text)}`;

function Pages({ here }: { here: string }) {
  const pages = [["listOfCases", "#/cases"], ["caseGraph", "#/cases/graph"]] as const;
  return <p class="choices beside-pages" role="navigation" aria-label={t("faultCases")}>{pages.map(([word, to]) => <a key={to} class="button" href={to} aria-current={to === here ? "page" : undefined}>{t(word)}</a>)}</p>;
}

/** `words` are looked for at first. */
export function Cases({ words = "" }: { words?: string }) {
  const [find, setFind] = useState(words), [asked, setAsked] = useState(words.trim()), [most, setMost] = useState(PAGE);
  const [asks, setAsks] = useState<"" | "new" | "file">(""), [told, setTold] = useState(""), [at, setAt] = useState("");
  useEffect(() => {
    const timer = window.setTimeout(() => { setAsked(find.trim()); setMost(PAGE); }, 250);
    return () => window.clearTimeout(timer);
  }, [find]);
  const [list, again] = useFresh<Kept[]>(() => get(`/api/cases?${new URLSearchParams({ find: asked, at, limit: String(most) })}`), () => false, [asked, at, most]);
  if (!list) return <p class="quiet">…</p>;
  return (
    <>
      <header class="bar"><h1>{t("faultCases")}</h1><Pages here="#/cases" /><span class="grow" />
        {may("case") ? <span class="choices"><button onClick={() => setAsks("file")}>{t("takeIn")}</button><button onClick={() => setAsks("new")}>{t("newCase")}</button></span> : null}</header>
      <div class="bar filters">
        <input id="filter" type="search" maxLength={500} placeholder={t("findCase")} aria-label={t("findCase")} value={find} onInput={(e) => setFind(e.currentTarget.value)} />
        <PlaceChoice at={at} pick={setAt} />
        <span class="grow" /><span class="choices files">{t("thoseAsFile")} {["csv", "json", "yaml"].map((kind) => <a key={kind} class="button" download href={`/api/cases/file?${new URLSearchParams({ kind, at })}`}>{kind.toUpperCase()}</a>)}</span>
      </div>
      {told ? <p class="good" role="status">{told}</p> : null}
      {list.length ? null : asked || at ? <p class="calm">{t("noCaseLike")}</p> : <p class="calm">{t("noCases")}<br /><span class="quiet">{t("noCasesSub")}</span></p>}
      <ul class="rows">{list.map((one) => (
        <li key={one.number} data-case={one.case.id}>
          <div><a href={`#/case/${one.number}`}><strong>{one.case.symptom}</strong></a>
            <p class="quiet">{joined([one.case.id, one.case.asset, one.case.component])}</p>
            {one.case.cause || one.case.remedy ? <p>{[one.case.cause, one.case.remedy].filter(Boolean).join(" → ")}</p> : null}</div>
          <span class="n quiet">{one.near === undefined ? one.place || t("wholePlane") : `${t("nearTo")} ${percent(one.near)}`}</span>
        </li>
      ))}</ul>
      {list.length === most && most < 500 ? <button onClick={() => setMost(500)}>{t("moreCases")}</button> : null}
      {asks === "new" ? <CaseForm title={t("newCase").replace(/ ?…$/, "")} place={at} close={() => setAsks("")} done={(kept) => { location.hash = `#/case/${kept.number}`; }} /> : null}
      {asks === "file" ? <TakeIn<{ new: number; anew: number }> path="/api/cases/file" permission="case" kinds={["csv", "json", "yaml", "yml"]} file="caseFile" where="servesAt" at={at} close={() => setAsks("")} done={(said) => { setTold(`${number(said.new)} ${t("newCases")} ${number(said.anew)} ${t("anewCases")}`); again(); }} /> : null}
    </>
  );
}

export function CasePage({ number: its }: { number: number }) {
  const [missing, setMissing] = useState(false), [changing, setChanging] = useState(false), [fault, setFault] = useState("");
  const load = () => get<Kept>(`/api/cases/${its}`).catch((e) => { setMissing(e.message.endsWith(": 404")); throw e; });
  const [kept, again] = useFresh<Kept>(load, () => false, [its]);
  if (missing) return <p class="calm">{t("noSuchCase")}</p>;
  if (!kept) return <p class="quiet">…</p>;
  const one = kept.case, mine = may("case", kept.place), shares = Object.entries(one.signature.shares);
  const remove = () => send("DELETE", `/api/cases/${its}?version=${kept.version}`).then(() => { location.hash = "#/cases"; }, (e) => { setFault(e.message); failed(e); again(); });
  return (
    <>
      <header class="bar"><h1><a href="#/cases" class="quiet" aria-label={t("faultCases")}>‹</a> {one.id}</h1><span class="grow" />
        {mine ? <span class="choices"><button onClick={() => setChanging(true)}>{t("changeCase")}</button><Sure word={t("removeCase")} question={t("sureRemoveCase")} bad act={remove} /></span> : null}</header>
      {fault ? <p class="bad" role="alert">{sentence(fault)}</p> : null}
      <section class="panel told-case" aria-label={one.id}>
        <dl>{KINDS.map((kind) => (one[kind] ? <div key={kind}><dt>{t(NODE[kind])}</dt><dd><a href={toNode(kind, one[kind])} title={t("allAbout")}>{one[kind]}</a></dd></div> : null))}
          {one.signature.alarm ? <div><dt>{t("signatureAlarm")}</dt><dd><code>{one.signature.alarm}</code></dd></div> : null}
          {shares.length ? <div><dt>{t("signatureShares")}</dt><dd><Shares shares={one.signature.shares} /></dd></div> : null}
          {one.parts.length ? <div><dt>{t("neededParts")}</dt><dd>{joined(one.parts)}</dd></div> : null}
          {one.pictures.length ? <div><dt>{t("casePictures")}</dt><dd>{one.pictures.map((digest) => <a key={digest} href={`/api/pictures/${digest}?case=${its}`} target="_blank" rel="noreferrer"><code>{digest.slice(0, 10)}</code> </a>)}</dd></div> : null}
          {one.source ? <div><dt>{t("caseSource")}</dt><dd>{one.source}</dd></div> : null}
          <div><dt>{t("servesAt")}</dt><dd>{kept.place || t("wholePlane")}</dd></div>
          <div><dt>{t("writtenBy")}</dt><dd>{kept.by} <span class="quiet">{moment(kept.at * 1000)}</span></dd></div></dl>
      </section>
      {changing ? <CaseForm of={kept} title={one.id} close={() => { setChanging(false); again(); }} done={again} /> : null}
    </>
  );
}

/** Which way each tag was, and how much of it was that. */
function Shares({ shares }: { shares: Record<string, number> }) {
  const rows = Object.entries(shares).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])), most = Math.max(...rows.map(([, share]) => Math.abs(share)));
  return (
    <ul class="bars shares" aria-label={sharesOf(shares)}>{rows.map(([tag, share]) => (
      <li key={tag}><span>{share < 0 ? "↓" : "↑"} {tag}</span><i style={{ width: `${(100 * Math.abs(share)) / most}%` }} /><span class="n">{number(share)}</span></li>
    ))}</ul>
  );
}

/** Asset, component, symptom, cause and remedy: what stands together with one of them. */
export function CaseGraph({ kind, text }: { kind: string; text: string }) {
  const [graph] = useFresh<Graph>(() => get(`/api/cases/graph?${new URLSearchParams({ kind, text })}`), () => false, [kind, text]);
  if (!graph) return <p class="quiet">…</p>;
  const picked = KINDS.find((one) => one === kind), empty = KINDS.every((one) => !graph.neighbours[one]?.length);
  return (
    <>
      <header class="bar"><h1>{t("faultCases")}</h1><Pages here="#/cases/graph" /><span class="grow" /></header>
      {picked ? <p class="path"><a href="#/cases/graph">{t("everythingNode")}</a> › <span class="quiet">{t(NODE[picked])}</span> <strong>{text}</strong> <span class="quiet">{number(graph.cases)} {t(graph.cases === 1 ? "inOneCase" : "inCases")}</span></p>
        : empty ? <p class="calm">{t("noCases")}<br /><span class="quiet">{t("noCasesSub")}</span></p> : <p class="quiet">{t("pickNode")}</p>}
      {empty && !picked ? null : (
        <div class="graph">{KINDS.map((one) => (
          <section key={one} class="panel" aria-label={t(NODE[one])}><h2>{t(NODE[one])}</h2>
            {one === picked ? <p class="picked-node">{text}</p> : graph.neighbours[one]?.length ? (
              <ul>{graph.neighbours[one].map((node) => <li key={node.text}><a href={toNode(one, node.text)}>{node.text}</a> <small class="quiet">{number(node.cases)}</small></li>)}</ul>
            ) : <p class="quiet">{t("noneTogether")}</p>}
          </section>
        ))}</div>
      )}
      {graph.behind?.length ? (
        <section class="panel" aria-label={t("behindIt")}><h2>{t("behindIt")}</h2><BehindList behind={graph.behind} /></section>
      ) : null}
    </>
  );
}

export const BehindList = ({ behind }: { behind: Behind[] }) => <ul class="rows plain">{behind.map((one) => <li key={one.number} data-behind={one.id}><div><a href={`#/case/${one.number}`}>{one.symptom}</a> <span class="quiet">{one.id}</span></div><span class="quiet wide">{one.place}</span></li>)}</ul>;
