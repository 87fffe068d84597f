// Loaded before a server that would listen on every address of the machine: it listens on loopback alone.

const net = require("node:net");

const { listen } = net.Server.prototype;
net.Server.prototype.listen = function (options, ...rest) {
    const open = options?.host === "0.0.0.0";
    return listen.call(this, open ? { ...options, host: "127.0.0.1" } : options, ...rest);
};
