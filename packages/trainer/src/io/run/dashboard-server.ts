import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { FormatError } from '@lorakit/format';
import { errnoOf } from '@lorakit/format/node';
import { dashboardPage, dashboardPolicy } from '../../run/dashboard/dashboard-page.js';
import { followMetrics, type MetricsFollower } from './follow-metrics.js';
import { METRICS_NAME } from './metrics-log.js';
import { PICTURES_FOLDER } from './picture-files.js';
import { INVERSION_FOLDER } from './run-folder.js';

export interface DashboardOptions {
	/** A run folder, of a run that is going on or finished. */
	readonly folder: string;
	/** 0 (the default): a free one. */
	readonly port?: number | undefined;
	/** The process does not end while it is open: for looking at a finished run. */
	readonly keepAlive?: boolean | undefined;
}

export interface Dashboard {
	/** `http://127.0.0.1:PORT/` */
	readonly url: string;
	close(): Promise<void>;
}

/** Pages that may be open at once. */
const MAX_CLIENTS = 32;
/** Largest picture that is sent. */
const MAX_PICTURE_BYTES = 64 * 1024 * 1024;

/**
 * Serve the page of a run on this machine alone (127.0.0.1). Requests with another host's name are refused, so that no web page elsewhere
 * reaches it by a name of its own; pictures come from the run's folder of validation pictures alone.
 * @throws {FormatError} `E_USAGE` for a port that is taken, `E_IO`
 */
export async function startDashboard({ folder, port = 0, keepAlive = false }: DashboardOptions): Promise<Dashboard> {
	const root = path.resolve(folder);
	const clients = new Set<http.ServerResponse>();
	const sendAll = (event: 'history' | 'line', data: unknown): void => {
		for (const client of clients) send(client, event, data);
	};
	type PhaseName = 'inversion' | 'training';
	const follow = (phase: PhaseName, place: string): MetricsFollower =>
		followMetrics(path.join(root, place, METRICS_NAME), (line) => {
			const now = current();
			if (now === shown) {
				if (phase === now) sendAll('line', line);
				return;
			}
			shown = now;
			sendAll('history', history());
		});
	// Pivotal tuning's first phase is shown until the second begins.
	const inversion = follow('inversion', INVERSION_FOLDER);
	const training = follow('training', '.');
	const current = (): PhaseName => (training.empty && !inversion.empty ? 'inversion' : 'training');
	const history = (): unknown => ({ phase: shown, lines: (shown === 'training' ? training : inversion).history() });
	let shown = current();
	const closeFollowers = (): void => {
		inversion.close();
		training.close();
	};
	const server = http.createServer((request, response) => {
		if (!isOwnHost(request.headers.host, portOf(server))) return answer(response, 403, 'another host');
		if (request.method !== 'GET') return answer(response, 405, 'only GET');
		const place = (request.url ?? '/').split('?')[0] ?? '/';
		if (place === '/') {
			const nonce = randomBytes(16).toString('base64');
			response.writeHead(200, {
				...HEADERS,
				'content-type': 'text/html; charset=utf-8',
				'content-security-policy': dashboardPolicy(nonce),
			});
			response.end(dashboardPage(path.basename(root), nonce));
			return;
		}
		// Browsers say when another page asks. It could read nothing, but take all the places of listeners.
		if (!OWN_SITES.has(String(request.headers['sec-fetch-site'] ?? 'none'))) return answer(response, 403, 'another page');
		if (place === '/events') {
			if (clients.size >= MAX_CLIENTS) return answer(response, 503, 'too many pages are open');
			response.writeHead(200, { ...HEADERS, 'content-type': 'text/event-stream' });
			response.on('close', () => clients.delete(response));
			send(response, 'history', history());
			clients.add(response);
			return;
		}
		const picture = place.startsWith('/picture/') ? pictureFile(root, place.slice('/picture/'.length)) : undefined;
		if (picture === undefined) answer(response, 404, 'no such page');
		else sendPicture(response, picture);
	});
	await new Promise<void>((resolve, reject) => {
		server.once('error', (error) => {
			closeFollowers();
			const taken = errnoOf(error) === 'EADDRINUSE';
			reject(
				new FormatError(
					taken ? 'E_USAGE' : 'E_IO',
					taken
						? `Port ${port} is taken; choose another one, or 0 for a free one.`
						: `The dashboard cannot listen on port ${port}: ${error.message}.`,
					{ cause: error },
				),
			);
		});
		server.listen(port, '127.0.0.1', resolve);
	});
	// The page keeps no training from ending.
	if (!keepAlive) server.unref();
	return {
		url: `http://127.0.0.1:${portOf(server)}/`,
		async close() {
			closeFollowers();
			for (const client of clients) client.end();
			server.closeAllConnections();
			await new Promise<void>((resolve) => server.close(() => resolve()));
		},
	};
}

/** Typed by hand, and from the page itself. A link from elsewhere may open the page; what it shows, the page asks for. */
const OWN_SITES: ReadonlySet<string> = new Set(['none', 'same-origin']);

/** Browsers leave port 80 out. */
function isOwnHost(host: string | undefined, port: number): boolean {
	return ['127.0.0.1', 'localhost'].some((name) => host === `${name}:${port}` || (port === 80 && host === name));
}

const HEADERS = {
	'cache-control': 'no-store',
	'x-content-type-options': 'nosniff',
	'referrer-policy': 'no-referrer',
	'cross-origin-resource-policy': 'same-origin',
} as const;

function send(response: http.ServerResponse, event: 'history' | 'line', data: unknown): void {
	response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}

function answer(response: http.ServerResponse, status: number, text: string): void {
	response.writeHead(status, { ...HEADERS, 'content-type': 'text/plain; charset=utf-8' });
	response.end(`${text}\n`);
}

/** A picture of the run: only `validation/NAME.png`, and only a plain file; undefined for anything else. */
function pictureFile(root: string, encoded: string): { readonly file: string; readonly size: number } | undefined {
	let name: string;
	try {
		name = decodeURIComponent(encoded);
	} catch {
		return undefined;
	}
	if (!/^validation\/[A-Za-z0-9_-]{1,100}\.png$/.test(name)) return undefined;
	const file = path.join(root, PICTURES_FOLDER, name.slice(PICTURES_FOLDER.length + 1));
	const stat = fs.lstatSync(file, { throwIfNoEntry: false });
	return stat?.isFile() === true && stat.size <= MAX_PICTURE_BYTES ? { file, size: stat.size } : undefined;
}

function sendPicture(response: http.ServerResponse, { file, size }: { readonly file: string; readonly size: number }): void {
	response.writeHead(200, { ...HEADERS, 'content-type': 'image/png', 'content-length': size });
	const stream = fs.createReadStream(file);
	stream.on('error', () => response.destroy());
	stream.pipe(response);
}

function portOf(server: http.Server): number {
	return (server.address() as AddressInfo | null)?.port ?? 0;
}
