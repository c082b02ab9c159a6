// A storage node as its own process: options as JSON in argv, the address on stdout, ends with its parent.
import { StorageNode, type StorageNodeOptions } from '../../src/index.ts';

const options: StorageNodeOptions = JSON.parse(process.argv[2] ?? '{}');
const node = await StorageNode.start(options);
process.stdout.write(`${JSON.stringify({ address: node.address })}\n`);
process.on('SIGTERM', () => void node.close().then(() => process.exit(0)));
// The parent holds the other end; when it dies, however, so do we.
process.stdin.on('end', () => process.exit(0)).resume();
