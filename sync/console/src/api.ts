// The plane's API, and one store that the live lane keeps fresh.
export interface Part { state: string; reason: string; restarts: number; counts: Record<string, number> }
export interface Status {
  samples?: number; durable?: number; dropped?: number; acknowledged?: number; journal?: string; parts?: Record<string, Part>;
}
export interface Device { id: string; heard: number; online: boolean; alarms: number; status: Status; rate?: number }
export interface Tag {
  id: number; name: string; type: string; unit: string; source: string; labels: Record<string, string>;
  value: number | null; quality: string; ts: number;
}
export interface Alarm {
  device: string; key: string; active: boolean; acked: boolean; shelved_until: number; since: number; severity: string;
  text: string; by: string; asked?: boolean;
}
export interface Happening {
  device: string; epoch: string; seq: number; ts: number; kind: string; key: string; state: string; severity: string; text: string;
  data: Record<string, any>; refs: string[];
}
export interface Series { tag: string; unit: string; t: number[]; v: (number | null)[] }
export interface Live { kind: "values" | "events" | "picture"; device?: string; digest?: string; values?: Record<string, [number | null, string, number]>; status?: Status }

export class SignIn extends Error {}

export async function get<T>(path: string): Promise<T> {
  const answer = await fetch(path, { headers: { Accept: "application/json" } });
  if (answer.status === 401) throw new SignIn();
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json() as Promise<T>;
}

export async function order(device: string, alarm: string, verb: string): Promise<void> {
  const path = `/api/devices/${encodeURIComponent(device)}/alarms/${encodeURIComponent(alarm)}`;
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ verb }) });
  if (answer.status === 401) throw new SignIn();
  if (!answer.ok) throw new Error(`${verb}: ${answer.status}`);
}

type Listener = (message: Live) => void;
const listeners = new Set<Listener>();
export const connection = { up: true, since: Date.now(), changed: () => {} };

export function listen(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function connect(): void {
  const stream = new EventSource("/api/live");
  stream.onopen = () => { connection.up = true; connection.changed(); };
  stream.onerror = () => { if (connection.up) { connection.up = false; connection.changed(); } };
  stream.onmessage = (event) => {
    connection.since = Date.now();
    const message = JSON.parse(event.data) as Live;
    for (const listener of listeners) listener(message);
  };
}
