import http from 'node:http';
import { type Command, InvalidArgumentError } from 'commander';
import { htmlReport } from '../report/html-report.js';
import { UsageError } from '../usage-error.js';
import type { Io } from './io.js';
import { readReport } from './read-report.js';

/** `lora-conformance serve-report REPORT` */
export function defineServeReport(command: Command, io: Io): void {
	command
		.description('show a report in a browser, on this machine only; the file is read anew with each reload')
		.argument('<report>', 'file of "run --json"')
		.option(
			'--port <n>',
			'port; 0: any',
			(text) => {
				const port = Number(text);
				if (!Number.isInteger(port) || port < 0 || port > 65535) throw new InvalidArgumentError('0 to 65535');
				return port;
			},
			0,
		)
		.action(async (file: string, { port }: { readonly port: number }) => {
			readReport(file);
			const server = http.createServer((_request, response) => {
				const { status, type, body } = page(file);
				response.writeHead(status, {
					'content-type': `${type}; charset=utf-8`,
					'cache-control': 'no-store',
					'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
				});
				response.end(body);
			});
			await new Promise<void>((done, refuse) => {
				server.once('error', (error) => refuse(new UsageError(`Port ${port} cannot be listened on: ${error.message}.`)));
				server.listen(port, '127.0.0.1', done);
			});
			const address = server.address();
			io.out(`http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : port}/\n`);
			await new Promise<void>((done) => io.signal.addEventListener('abort', () => done(), { once: true }));
			server.close();
			server.closeAllConnections();
		});
}

/** The file may be gone or half written at the moment of a reload: the next one may be right again. */
function page(file: string): { readonly status: number; readonly type: string; readonly body: string } {
	try {
		return { status: 200, type: 'text/html', body: htmlReport(readReport(file)) };
	} catch (error) {
		return { status: 500, type: 'text/plain', body: error instanceof Error ? error.message : String(error) };
	}
}
