import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.protocol.Errors;

/** The Java client as an agent: reads requests, answers them; see ../protocol.py for the protocol. */
public final class Agent {
    static final ObjectMapper JSON = new ObjectMapper();

    /** One operation of the protocol; what it returns is written as JSON. */
    interface Operation {
        Object run(JsonNode arguments) throws Exception;
    }

    private final Map<String, Operation> operations = new HashMap<>();

    private Agent(String bootstrap) {
        new ProduceAndFetch(bootstrap).offer(operations);
        new Members(bootstrap).offer(operations);
        new Administration(bootstrap).offer(operations);
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = System.out;
        System.setOut(System.err);
        Agent agent = new Agent(arguments[0]);
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        for (String line; (line = requests.readLine()) != null; ) {
            answers.println(JSON.writeValueAsString(agent.answer(JSON.readTree(line))));
            answers.flush();
        }
        // Consumers' threads would keep the process alive.
        Runtime.getRuntime().halt(0);
    }

    private ObjectNode answer(JsonNode request) {
        ObjectNode answer = JSON.createObjectNode();
        try {
            Operation operation = operations.get(request.get("op").asText());
            answer.set("ok", JSON.valueToTree(operation.run(request.path("args"))));
        } catch (Throwable failure) {
            failure.printStackTrace();
            answer.set("error", describe(failure));
        }
        return answer;
    }

    /** The broker's error code, if the failure carries one, and the failure in words. */
    static ObjectNode describe(Throwable failure) {
        while ((failure instanceof ExecutionException || failure instanceof CompletionException)
                && failure.getCause() != null) {
            failure = failure.getCause();
        }
        ObjectNode error = JSON.createObjectNode();
        Errors known = failure instanceof ApiException ? Errors.forException(failure) : Errors.UNKNOWN_SERVER_ERROR;
        if (known == Errors.UNKNOWN_SERVER_ERROR) {
            error.putNull("code");
        } else {
            error.put("code", known.code());
        }
        error.put("message", failure.getClass().getSimpleName() + ": " + failure.getMessage());
        return error;
    }
}
