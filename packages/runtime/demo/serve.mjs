import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

const TYPES = {
	'.html': 'text/html; charset=utf-8',
	'.css': 'text/css; charset=utf-8',
	'.js': 'text/javascript; charset=utf-8',
	'.mjs': 'text/javascript; charset=utf-8',
	'.json': 'application/json',
	'.wasm': 'application/wasm',
};

/** With these the page may share memory between threads; without, it computes on one. */
const ISOLATED = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };

/**
 * A static server of one folder, for this machine alone.
 * @param {string} folder @param {number} port 0: any that is free
 * @returns {Promise<string>} its URL
 */
export async function serveFolder(folder, port) {
	const root = fs.realpathSync(folder);
	const server = http.createServer((request, response) => {
		const fail = (status) => response.writeHead(status).end();
		if (request.method !== 'GET' && request.method !== 'HEAD') return fail(405);
		let file;
		try {
			file = path.join(root, decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname));
		} catch {
			return fail(400);
		}
		if (file.endsWith(path.sep)) file += 'index.html';
		if (!file.startsWith(root + path.sep) || file.includes('\0')) return fail(403);
		fs.stat(file, (error, stat) => {
			if (error || !stat.isFile()) return fail(404);
			const type = TYPES[path.extname(file)] ?? 'application/octet-stream';
			response.writeHead(200, { 'content-type': type, 'content-length': stat.size, 'cache-control': 'no-cache', ...ISOLATED });
			if (request.method === 'HEAD') return response.end();
			fs.createReadStream(file)
				.on('error', () => response.destroy())
				.pipe(response);
		});
	});
	await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
	return `http://127.0.0.1:${server.address().port}/`;
}
