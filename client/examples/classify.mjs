// Classifies the first image of the MNIST test set.
// Needs `npm install @grpc/grpc-js @grpc/proto-loader`. Run from the top of the source tree.
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const { vit } = grpc.loadPackageDefinition(loadSync('proto/vit/v1/classifier.proto'));
const classifier = new vit.v1.Classifier('localhost:50051', grpc.credentials.createInsecure());

const images = gunzipSync(readFileSync('tests/data/mnist/t10k-images-idx3-ubyte.gz'));
const image = images.subarray(16, 16 + 28 * 28); // behind the header, 784 bytes

classifier.classify({ image }, { deadline: Date.now() + 5000 }, (error, answer) => {
  if (error) throw error;
  console.log(`${answer.label} (${(100 * answer.confidence).toFixed(1)} %)`);
});
