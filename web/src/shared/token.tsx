/** Asks for the token once per tab, sends what changes something, and says plainly what came of it. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";

const KEPT = "edgeflow-token";

export interface Wish {
  title: string;
  confirm: string;
  path: string;
  body: () => Record<string, unknown>;
  form?: ComponentChildren;
  onDone?: () => void;
}

/** A dialog that does one thing: asks what is missing, sends, shows what the server says. */
export function Ask({ wish, onClose }: { wish: Wish; onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [token, setToken] = useState(sessionStorage.getItem(KEPT) ?? "");
  const [asksToken, setAsksToken] = useState(token === "");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");

  useEffect(() => dialog.current?.showModal(), []);

  const send = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setProblem("");
    const answer = await post(wish.path, wish.body(), token.trim());
    setBusy(false);
    if (answer.ok) {
      sessionStorage.setItem(KEPT, token.trim());
      wish.onDone?.();
      dialog.current?.close();
      return;
    }
    if (answer.status === 401) {
      sessionStorage.removeItem(KEPT);
      setAsksToken(true);
      setProblem(token ? "This token is not the right one." : answer.detail);
    } else setProblem(answer.detail);
  };

  return (
    <dialog ref={dialog} onClose={onClose} aria-labelledby="ask-title">
      <form onSubmit={send}>
        <h2 id="ask-title">{wish.title}</h2>
        {wish.form}
        {asksToken && (
          <label>
            <span>Token</span>
            <input
              type="password"
              autocomplete="current-password"
              required
              value={token}
              onInput={(event) => setToken(event.currentTarget.value)}
            />
            <small>From the file <code>admin.token</code> of the gateway; kept until this tab is closed.</small>
          </label>
        )}
        {problem && <p class="problem" role="alert">{problem}</p>}
        <div class="actions">
          <button type="button" class="plain" onClick={() => dialog.current?.close()}>Cancel</button>
          <button type="submit" disabled={busy}>{busy ? "Sending …" : wish.confirm}</button>
        </div>
      </form>
    </dialog>
  );
}

interface Answer {
  ok: boolean;
  status: number;
  detail: string;
}

async function post(path: string, body: Record<string, unknown>, token: string): Promise<Answer> {
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}) },
      body: JSON.stringify(body),
    });
    if (response.ok) return { ok: true, status: response.status, detail: "" };
    const problem = (await response.json().catch(() => ({}))) as { title?: string; detail?: string };
    return { ok: false, status: response.status, detail: problem.detail || problem.title || "It was not done." };
  } catch {
    return { ok: false, status: 0, detail: "No connection to the agent: it was not done. Try again." };
  }
}
